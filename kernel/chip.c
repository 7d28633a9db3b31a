// SPDX-License-Identifier: GPL-2.0-only
/*
 * The client's side of an exchange: what the TPM core calls.
 *
 * The whole exchange happens inside send().  The core's way, a send() that returns
 * at once and a status() that is polled with sleeps of about a millisecond, costs
 * more than most commands take.
 */
#include <linux/err.h>
#include <linux/freezer.h>
#include <linux/jiffies.h>
#include <linux/platform_device.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/string.h>

#include "compat.h"
#include "internal.h"
#include "trace.h"

/*
 * How long a killed client still waits for an attached engine to take its frame.
 * The core flushes the objects of a failed or killed client through send(); if
 * that failed at once because SIGKILL is pending, the objects would stay in the
 * TPM's three slots for good.
 */
#define VTPM_KILL_GRACE		(HZ / 2)

struct vtpm_getcap {
	struct tpm_header header;
	__be32 capability;
} __packed;

static bool vtpm_is_cap_pcrs(const u8 *cmd, size_t len)
{
	const struct vtpm_getcap *getcap = (const void *)cmd;

	return len >= sizeof(*getcap) &&
	       getcap->header.tag == cpu_to_be16(TPM2_ST_NO_SESSIONS) &&
	       getcap->header.ordinal == cpu_to_be32(TPM2_CC_GET_CAPABILITY) &&
	       getcap->capability == cpu_to_be32(TPM2_CAP_PCRS);
}

/*
 * Sleep until something changed, @deadline passed or @state lets a signal through.
 * Called and returns with the lock held.
 */
static void vtpm_sleep(struct vtpm_dev *dev, unsigned int state,
		       unsigned long deadline)
	__must_hold(&dev->lock)
{
	long left = deadline - jiffies;
	DEFINE_WAIT(wait);

	if (left <= 0)
		return;
	prepare_to_wait(&dev->clients.wq, &wait, state);
	spin_unlock(&dev->lock);
	schedule_timeout(left);
	finish_wait(&dev->clients.wq, &wait);
	spin_lock(&dev->lock);
}

/*
 * A killed client would not sleep in TASK_KILLABLE; TASK_IDLE, because one that
 * waits for an engine is neither load nor a hung task.  FREEZABLE_UNSAFE, because
 * the core holds its locks around us.
 */
static void vtpm_client_sleep(struct vtpm_dev *dev, unsigned long deadline)
	__must_hold(&dev->lock)
{
	unsigned int state = fatal_signal_pending(current) ? TASK_IDLE :
							     TASK_KILLABLE;

	vtpm_sleep(dev, state | TASK_FREEZABLE_UNSAFE, deadline);
}

/*
 * A system sleep is near, and this command, which no engine has, begins a
 * transaction.  We must not be frozen here: the core holds tpm_mutex around us, its
 * waiters cannot be frozen, and so the sleep would fail.  The freezer makes a signal
 * pending, and write() is restarted after the thaw.
 *
 * With O_NONBLOCK a worker runs us, for which there is no restart, and the client
 * cannot be frozen while it polls for the outcome.
 */
static int vtpm_wait_held(struct vtpm_dev *dev)
	__must_hold(&dev->lock)
{
	if (current->flags & PF_KTHREAD || fatal_signal_pending(current))
		return -EPIPE;
	if (signal_pending(current))
		return -ERESTARTSYS;
	vtpm_sleep(dev, TASK_INTERRUPTIBLE, jiffies + MAX_JIFFY_OFFSET);
	return 0;
}

/*
 * Wait until a command may be queued: the answer to a command that was given up
 * has come, and no system sleep is near.
 *
 * The wait for that answer is bounded once, from the moment of giving up.  Later
 * commands fail at once, and silently, so that an engine that hangs does not cost
 * one time-out for each object that the core flushes.
 */
static int vtpm_wait_idle(struct vtpm_dev *dev)
	__must_hold(&dev->lock)
{
	int rc;

	while (dev->state != VTPM_STATE_DEAD) {
		if (dev->first && READ_ONCE(vtpm_held)) {
			rc = vtpm_wait_held(dev);
			if (rc)
				return rc;
			continue;
		}
		if (dev->xchg == VTPM_XCHG_IDLE)
			return 0;
		if (fatal_signal_pending(current)) {
			dev->aborts++;
			return -EPIPE;
		}
		if (time_after_eq(jiffies, dev->stale_deadline)) {
			dev->timeouts++;
			return -EPIPE;
		}
		vtpm_client_sleep(dev, dev->stale_deadline);
	}
	return -EPIPE;
}

static void vtpm_queue(struct vtpm_dev *dev, const u8 *cmd, size_t len,
		       struct vtpm_wait *wait)
	__must_hold(&dev->lock)
{
	const struct tpm_header *header = (const void *)cmd;
	u32 code = len >= TPM_HEADER_SIZE ? be32_to_cpu(header->ordinal) : 0;

	dev->restartable = dev->first;
	dev->first = false;
	dev->active = true;
	memcpy(dev->cmd, cmd, len);
	dev->cmd_len = len;
	dev->cap_pcrs = vtpm_is_cap_pcrs(cmd, len);
	dev->bootstrap = dev->registrar == current;
	dev->delivered = false;
	dev->client = true;
	dev->rc = 0;
	dev->sequence++;
	dev->xchg = VTPM_XCHG_QUEUED;
	dev->timeout = max(tpm_calc_ordinal_duration(dev->chip, code),
			   msecs_to_jiffies(dev->command_timeout_ms));
	trace_vtpm_frame_queue(dev, dev->sequence, len, code);

	vtpm_wait_begin(dev, &dev->clients, wait);
	if (dev->chan) {
		dev->deadline = jiffies + dev->timeout;
		vtpm_notify(&dev->engines, !vtpm_will_spin(dev, &dev->clients));
	} else {
		dev->deadline = jiffies +
				msecs_to_jiffies(dev->detach_timeout_ms);
		vtpm_event(dev, VTPM_EVENT_WANTED, 0);
	}
}

/*
 * Wait for the outcome of the queued command.  A fatal signal counts only until an
 * engine has taken the frame, for after that the command may have had its effect,
 * and the core must see the reply to keep its table of objects right.
 */
static int vtpm_wait_outcome(struct vtpm_dev *dev, struct vtpm_wait *wait)
	__must_hold(&dev->lock)
{
	unsigned long grace = 0;
	bool killed = false;

	while (dev->client) {
		unsigned long deadline = dev->deadline;
		int rc;

		if (READ_ONCE(vtpm_held) && dev->restartable && !dev->delivered) {
			rc = vtpm_wait_held(dev);
			if (rc && dev->client)
				vtpm_give_up(dev, rc);
			continue;
		}

		if (!dev->delivered && fatal_signal_pending(current)) {
			if (!killed)
				grace = jiffies + VTPM_KILL_GRACE;
			killed = true;
			if (!dev->chan)
				deadline = jiffies;
			else if (time_before(grace, deadline))
				deadline = grace;
		} else {
			killed = false;
		}
		if (time_after_eq(jiffies, deadline)) {
			if (killed)
				dev->aborts++;
			else
				dev->timeouts++;
			vtpm_give_up(dev, killed ? -EPIPE : -ETIME);
			break;
		}
		if (!vtpm_wait_spin(dev, &dev->clients, wait))
			vtpm_client_sleep(dev, deadline);
	}
	vtpm_wait_end(dev, &dev->clients, wait, !dev->rc);
	return dev->rc;
}

static int vtpm_exchange(struct tpm_chip *chip, const u8 *cmd, size_t len)
{
	struct vtpm_dev *dev = dev_get_drvdata(&chip->dev);
	struct vtpm_wait wait;
	int rc;

	if (len > VTPM_FRAME_MAX)
		return -E2BIG;

	spin_lock(&dev->lock);
	rc = vtpm_wait_idle(dev);
	if (!rc) {
		vtpm_queue(dev, cmd, len, &wait);
		rc = vtpm_wait_outcome(dev, &wait);
	}
	spin_unlock(&dev->lock);
	return rc;
}

static int vtpm_op_recv(struct tpm_chip *chip, u8 *buf, size_t bufsiz)
{
	struct vtpm_dev *dev = dev_get_drvdata(&chip->dev);
	int rc;

	spin_lock(&dev->lock);
	rc = dev->reply_len;
	if (rc <= bufsiz)
		memcpy(buf, dev->reply, rc);
	else
		rc = -EIO;
	memzero_explicit(dev->reply, dev->reply_len);
	dev->reply_len = 0;
	spin_unlock(&dev->lock);
	return rc;
}

#ifdef VTPM_HAVE_SEND_BUFSIZ
static int vtpm_op_send(struct tpm_chip *chip, u8 *buf, size_t bufsiz,
			size_t cmd_len)
{
	int rc = vtpm_exchange(chip, buf, cmd_len);

	if (rc || !VTPM_CHIP_SYNC)
		return rc;
	return vtpm_op_recv(chip, buf, bufsiz);
}
#else
static int vtpm_op_send(struct tpm_chip *chip, u8 *buf, size_t len)
{
	return vtpm_exchange(chip, buf, len);
}
#endif

/*
 * The core brackets a transaction with these two.  On /dev/tpmrmN it is several
 * commands: the objects of the client come and go around its own command.
 */
static int vtpm_op_cmd_ready(struct tpm_chip *chip)
{
	struct vtpm_dev *dev = dev_get_drvdata(&chip->dev);

	spin_lock(&dev->lock);
	dev->first = true;
	spin_unlock(&dev->lock);
	return 0;
}

static int vtpm_op_go_idle(struct tpm_chip *chip)
{
	struct vtpm_dev *dev = dev_get_drvdata(&chip->dev);

	spin_lock(&dev->lock);
	dev->first = false;
	dev->active = false;
	if (READ_ONCE(vtpm_held))
		vtpm_notify(&dev->clients, false);
	spin_unlock(&dev->lock);
	return 0;
}

/* send() returns when the reply is there. */
static u8 vtpm_op_status(struct tpm_chip *chip)
{
	return 1;
}

static bool vtpm_op_req_canceled(struct tpm_chip *chip, u8 status)
{
	return false;
}

/* The core has TPM 1.2 in mind here; VTPM_IOC_ABORT is what cancels. */
static void vtpm_op_cancel(struct tpm_chip *chip)
{
}

static const struct tpm_class_ops vtpm_tpm_ops = {
	.flags = TPM_OPS_AUTO_STARTUP,
	.send = vtpm_op_send,
	.recv = vtpm_op_recv,
	.status = vtpm_op_status,
	.req_complete_mask = 1,
	.req_complete_val = 1,
	.req_canceled = vtpm_op_req_canceled,
	.cancel = vtpm_op_cancel,
	.cmd_ready = vtpm_op_cmd_ready,
	.go_idle = vtpm_op_go_idle,
};

/*
 * Major number of /dev/tpmrmN.  The core sets chip->devs.devt only while it
 * registers the chip, but /dev/tpmN with N > 0 has the same major.  /dev/tpm0 has
 * a misc minor instead: a chip with another number, made and dropped, tells.
 */
static int vtpm_tpmrm_major(struct tpm_chip *chip)
{
	struct tpm_chip *other;
	int major;

	if (chip->dev_num)
		return MAJOR(chip->dev.devt);

	other = tpm_chip_alloc(chip->dev.parent, &vtpm_tpm_ops);
	if (IS_ERR(other))
		return PTR_ERR(other);
	major = MAJOR(other->dev.devt);
	put_device(&other->dev);
	return major;
}

/**
 * vtpm_chip_create() - allocate the chip of a device and take its number
 * @dev: a device that is not published, with its platform device
 *
 * Return: 0 or a negative errno.
 */
int vtpm_chip_create(struct vtpm_dev *dev)
{
	struct tpm_chip *chip;
	int major;

	chip = tpm_chip_alloc(&dev->pdev->dev, &vtpm_tpm_ops);
	if (IS_ERR(chip))
		return PTR_ERR(chip);

	major = vtpm_tpmrm_major(chip);
	if (major < 0) {
		put_device(&chip->dev);
		return major;
	}
	chip->flags |= TPM_CHIP_FLAG_TPM2 | TPM_CHIP_FLAG_VIRTUAL |
		       VTPM_CHIP_NO_HWRNG | VTPM_CHIP_SYNC;
	dev_set_drvdata(&chip->dev, dev);

	dev->chip = chip;
	dev->tpm_number = chip->dev_num;
	dev->devt = chip->dev.devt;
	/* The core numbers resource-managed nodes behind all plain ones. */
	dev->devt_rm = MKDEV(major, chip->dev_num + VTPM_TPM_NUM_DEVICES);
	return 0;
}

/**
 * vtpm_chip_start() - register the chip with the TPM core
 * @dev: the device; an engine must answer meanwhile
 *
 * vtpm_chip_stop() must follow a failure, too, after the device was killed.
 *
 * Return: 0 or a negative errno.
 */
int vtpm_chip_start(struct vtpm_dev *dev)
{
	int rc;

	spin_lock(&dev->lock);
	dev->registrar = current;
	spin_unlock(&dev->lock);

	rc = tpm_chip_register(dev->chip);

	spin_lock(&dev->lock);
	dev->registrar = NULL;
	dev->registered = !rc;
	spin_unlock(&dev->lock);

	/* The core made no /dev/tpmrmN if it could not read the command table. */
	if (!rc && tpm_is_firmware_upgrade(dev->chip))
		return -ENODEV;
	return rc > 0 ? -ENODEV : rc;
}

/**
 * vtpm_chip_stop() - see to it that the TPM core calls us no more
 * @dev: a dead device: nobody waits inside send(), nobody can enter it
 */
void vtpm_chip_stop(struct vtpm_dev *dev)
{
	struct tpm_chip *chip = dev->chip;

	/*
	 * No client gets into the core any more.  The core itself does this only
	 * after device_del(), which has freed the command table by then, and
	 * clients of /dev/tpmrmN that waited for a turn would look into it.  A
	 * registration that failed late had a node for a moment, too.
	 */
	down_write(&chip->ops_sem);
	chip->ops = NULL;
	up_write(&chip->ops_sem);
	if (dev->registered)
		tpm_chip_unregister(chip);

	spin_lock(&dev->lock);
	dev->registered = false;
	spin_unlock(&dev->lock);
}
