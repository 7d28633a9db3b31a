// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/vtpm: ioctls that create and control devices, and their events.
 */
#include <linux/capability.h>
#include <linux/err.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/freezer.h>
#include <linux/fs.h>
#include <linux/kdev_t.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "internal.h"

/* Events that wait for one reader. */
#define VTPM_EVENTS		256

/* Devices that LIST looks up at a time. */
#define VTPM_LIST_BATCH		16

/*
 * One open file of /dev/vtpm.  When its queue is full, events are dropped until
 * it is read empty; the reader then finds VTPM_EVENT_OVERFLOW.
 */
struct vtpm_control {
	struct list_head list;
	wait_queue_head_t wq;
	struct mutex read_lock; /* outside of vtpm_events_lock */

	/* vtpm_events_lock protects all that follows */
	unsigned int head;
	unsigned int count;
	bool overflow;
	struct vtpm_event events[VTPM_EVENTS];
};

static DEFINE_SPINLOCK(vtpm_events_lock);
static LIST_HEAD(vtpm_controls);

/**
 * vtpm_event() - tell all readers
 * @dev: the device, locked
 * @type: enum vtpm_event_type
 * @error: REGISTERED: 0 or a positive errno
 */
void vtpm_event(struct vtpm_dev *dev, u32 type, u32 error)
	__must_hold(&dev->lock)
{
	struct vtpm_event event = {
		.type = type,
		.error = error,
		.tpm_rc = error ? dev->register_tpm_rc : 0,
		.tpm_number = dev->tpm_number,
		.sequence = type == VTPM_EVENT_WANTED ? dev->sequence : 0,
	};
	struct vtpm_control *control;

	memcpy(event.uuid, dev->uuid, VTPM_UUID_SIZE);

	spin_lock(&vtpm_events_lock);
	list_for_each_entry(control, &vtpm_controls, list) {
		if (control->overflow || control->count == VTPM_EVENTS) {
			control->overflow = true;
			continue;
		}
		control->events[(control->head + control->count++) %
				VTPM_EVENTS] = event;
		wake_up_interruptible_poll(&control->wq,
					   EPOLLIN | EPOLLRDNORM);
	}
	spin_unlock(&vtpm_events_lock);
}

static bool vtpm_event_peek(struct vtpm_control *control,
			    struct vtpm_event *event)
{
	bool found = true;

	spin_lock(&vtpm_events_lock);
	if (control->count) {
		*event = control->events[control->head];
	} else if (control->overflow) {
		memset(event, 0, sizeof(*event));
		event->type = VTPM_EVENT_OVERFLOW;
	} else {
		found = false;
	}
	spin_unlock(&vtpm_events_lock);
	return found;
}

static void vtpm_event_consume(struct vtpm_control *control)
{
	spin_lock(&vtpm_events_lock);
	if (control->count) {
		control->head = (control->head + 1) % VTPM_EVENTS;
		control->count--;
	} else {
		control->overflow = false;
	}
	spin_unlock(&vtpm_events_lock);
}

static ssize_t vtpm_control_read(struct file *file, char __user *buf,
				 size_t len, loff_t *off)
{
	struct vtpm_control *control = file->private_data;
	struct vtpm_event event;
	ssize_t done = 0;
	int rc;

	if (len < sizeof(event))
		return -EINVAL;

	for (;;) {
		rc = mutex_lock_interruptible(&control->read_lock);
		if (rc)
			return rc;
		while (len - done >= sizeof(event) &&
		       vtpm_event_peek(control, &event)) {
			if (copy_to_user(buf + done, &event, sizeof(event))) {
				rc = -EFAULT;
				break;
			}
			vtpm_event_consume(control);
			done += sizeof(event);
		}
		mutex_unlock(&control->read_lock);
		if (done)
			return done;
		if (rc)
			return rc;
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		rc = wait_event_freezable(control->wq,
					  vtpm_event_peek(control, &event));
		if (rc)
			return rc;
	}
}

static __poll_t vtpm_control_poll(struct file *file, poll_table *wait)
{
	struct vtpm_control *control = file->private_data;
	struct vtpm_event event;

	poll_wait(file, &control->wq, wait);
	return vtpm_event_peek(control, &event) ? EPOLLIN | EPOLLRDNORM : 0;
}

/*
 * Copy an argument structure in.  @min is what a caller must have at least, so that
 * it can see the results.
 */
static int vtpm_copy_in(void *arg, size_t ksize, size_t min,
			const void __user *uarg, u32 *size)
{
	if (get_user(*size, (const u32 __user *)uarg))
		return -EFAULT;
	if (*size < min)
		return -EINVAL;
	if (*size > PAGE_SIZE)
		return -E2BIG;
	return copy_struct_from_user(arg, ksize, uarg, *size);
}

static int vtpm_copy_out(void __user *uarg, const void *arg, size_t ksize,
			 u32 size)
{
	return copy_to_user(uarg, arg, min_t(size_t, ksize, size)) ? -EFAULT : 0;
}

static int vtpm_ioc_version(void __user *uarg)
{
	struct vtpm_version version;
	u32 size;
	int rc;

	rc = vtpm_copy_in(&version, sizeof(version),
			  offsetofend(struct vtpm_version, abi_minor), uarg,
			  &size);
	if (rc)
		return rc;

	memset(&version, 0, sizeof(version));
	version.size = size;
	version.abi_major = VTPM_ABI_MAJOR;
	version.abi_minor = VTPM_ABI_MINOR;
	strscpy(version.module_version, VTPM_MODULE_VERSION,
		sizeof(version.module_version));
	return vtpm_copy_out(uarg, &version, sizeof(version), size);
}

static bool vtpm_label_valid(const u8 *label)
{
	size_t len = strnlen(label, VTPM_LABEL_SIZE);
	size_t i;

	for (i = 0; i < len; i++) {
		if (label[i] < ' ' || label[i] > '~' || label[i] == '/')
			return false;
	}
	return len < VTPM_LABEL_SIZE &&
	       !memchr_inv(label + len, 0, VTPM_LABEL_SIZE - len);
}

static bool vtpm_create_valid(const struct vtpm_create *create)
{
	return !create->flags && !create->reserved[0] && !create->reserved[1] &&
	       memchr_inv(create->uuid, 0, VTPM_UUID_SIZE) &&
	       vtpm_label_valid(create->label) &&
	       create->command_timeout_ms <= VTPM_TIMEOUT_MAX_MS &&
	       create->detach_timeout_ms <= VTPM_TIMEOUT_MAX_MS;
}

static int vtpm_ioc_create(void __user *uarg)
{
	struct vtpm_create create;
	struct vtpm_dev *dev;
	struct file *engine;
	u64 sequence;
	u32 size;
	int fd, rc;

	rc = vtpm_copy_in(&create, sizeof(create),
			  offsetofend(struct vtpm_create, power_id), uarg,
			  &size);
	if (rc)
		return rc;
	if (!vtpm_create_valid(&create))
		return -EINVAL;

	dev = vtpm_dev_reserve(&create);
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	rc = vtpm_dev_add(dev);
	if (rc)
		goto err_dev;

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		rc = fd;
		goto err_dev;
	}
	engine = vtpm_chan_open(dev);
	if (IS_ERR(engine)) {
		rc = PTR_ERR(engine);
		goto err_fd;
	}
	rc = vtpm_attach(dev, engine, 0, NULL, &sequence);
	if (rc)
		goto err_engine;

	create.size = size;
	create.engine_fd = fd;
	create.tpm_number = dev->tpm_number;
	create.dev_major = MAJOR(dev->devt);
	create.dev_minor = MINOR(dev->devt);
	create.devrm_major = MAJOR(dev->devt_rm);
	create.devrm_minor = MINOR(dev->devt_rm);
	create.command_timeout_ms = dev->command_timeout_ms;
	create.detach_timeout_ms = dev->detach_timeout_ms;
	memcpy(create.power_id, dev->power_id, VTPM_POWER_ID_SIZE);
	rc = vtpm_copy_out(uarg, &create, sizeof(create), size);
	if (rc)
		goto err_engine;

	rc = vtpm_dev_publish(dev);
	if (rc)
		goto err_engine;
	fd_install(fd, engine);
	return 0;

err_engine:
	/* Its release finds a dead device, or one that still has it attached. */
	fput(engine);
err_fd:
	put_unused_fd(fd);
err_dev:
	vtpm_dev_abandon(dev);
	return rc;
}

static int vtpm_ioc_attach(void __user *uarg)
{
	struct vtpm_attach attach;
	struct vtpm_dev *dev;
	struct file *engine;
	u32 size;
	int fd, rc;

	rc = vtpm_copy_in(&attach, sizeof(attach),
			  offsetofend(struct vtpm_attach, sequence), uarg,
			  &size);
	if (rc)
		return rc;
	if (attach.flags & ~VTPM_ATTACH_REPLACE || attach.reserved)
		return -EINVAL;

	dev = vtpm_dev_find(attach.uuid);
	if (!dev)
		return -ENOENT;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		rc = fd;
		goto err_dev;
	}
	engine = vtpm_chan_open(dev);
	if (IS_ERR(engine)) {
		rc = PTR_ERR(engine);
		goto err_fd;
	}

	/* A bad address must not cost the engine that is attached now. */
	attach.size = size;
	attach.engine_fd = fd;
	rc = vtpm_copy_out(uarg, &attach, sizeof(attach), size);
	if (!rc)
		rc = vtpm_attach(dev, engine, attach.flags, attach.power_id,
				 &attach.sequence);
	if (!rc)
		rc = vtpm_copy_out(uarg, &attach, sizeof(attach), size);
	if (rc)
		goto err_engine;

	fd_install(fd, engine);
	vtpm_dev_put(dev);
	return 0;

err_engine:
	fput(engine);
err_fd:
	put_unused_fd(fd);
err_dev:
	vtpm_dev_put(dev);
	return rc;
}

static int vtpm_ioc_target(unsigned int nr, void __user *uarg)
{
	struct vtpm_target target;
	struct vtpm_dev *dev;
	bool one;
	u32 size;
	int rc;

	rc = vtpm_copy_in(&target, sizeof(target), sizeof(target), uarg, &size);
	if (rc)
		return rc;
	one = nr == _IOC_NR(VTPM_IOC_RELEASE_NUMBER) &&
	      target.flags == VTPM_TARGET_NUMBER;
	if (target.reserved || (!one && (target.flags || target.tpm_number)))
		return -EINVAL;
	if (nr == _IOC_NR(VTPM_IOC_RELEASE_NUMBER))
		return vtpm_dev_release_number(target.uuid,
					       one ? &target.tpm_number : NULL);

	dev = vtpm_dev_find(target.uuid);
	if (!dev)
		return -ENOENT;
	switch (nr) {
	case _IOC_NR(VTPM_IOC_DESTROY):
		rc = vtpm_dev_destroy(dev);
		break;
	case _IOC_NR(VTPM_IOC_ABORT):
		rc = vtpm_abort(dev);
		break;
	case _IOC_NR(VTPM_IOC_WAKE):
		rc = vtpm_wake(dev);
		break;
	}
	vtpm_dev_put(dev);
	return rc;
}

static int vtpm_ioc_power_cycle(void __user *uarg)
{
	struct vtpm_power_cycle cycle;
	struct vtpm_dev *dev;
	u32 size;
	int rc;

	rc = vtpm_copy_in(&cycle, sizeof(cycle), sizeof(cycle), uarg, &size);
	if (rc)
		return rc;
	if (cycle.flags)
		return -EINVAL;

	dev = vtpm_dev_find(cycle.uuid);
	if (!dev)
		return -ENOENT;
	rc = vtpm_power_cycle(dev, cycle.power_id);
	if (!rc)
		rc = vtpm_copy_out(uarg, &cycle, sizeof(cycle), size);
	vtpm_dev_put(dev);
	return rc;
}

static int vtpm_ioc_info(void __user *uarg)
{
	struct vtpm_info info;
	struct vtpm_dev *dev;
	u32 size;
	int rc;

	rc = vtpm_copy_in(&info, sizeof(info),
			  offsetofend(struct vtpm_info, uuid), uarg, &size);
	if (rc)
		return rc;
	if (info.flags)
		return -EINVAL;

	dev = vtpm_dev_find(info.uuid);
	if (!dev)
		return -ENOENT;
	vtpm_dev_info(dev, &info);
	vtpm_dev_put(dev);
	info.size = size;
	return vtpm_copy_out(uarg, &info, sizeof(info), size);
}

static int vtpm_list_entry(struct vtpm_dev *dev, void __user *entry, u32 size)
{
	struct vtpm_info info;

	vtpm_dev_info(dev, &info);
	info.size = size;
	if (vtpm_copy_out(entry, &info, sizeof(info), size))
		return -EFAULT;
	if (size > sizeof(info) &&
	    clear_user(entry + sizeof(info), size - sizeof(info)))
		return -EFAULT;
	return 0;
}

static int vtpm_ioc_list(void __user *uarg)
{
	struct vtpm_dev *devs[VTPM_LIST_BATCH];
	struct vtpm_list list;
	unsigned int i, n;
	u32 size, done = 0;
	int rc;

	rc = vtpm_copy_in(&list, sizeof(list),
			  offsetofend(struct vtpm_list, total), uarg, &size);
	if (rc)
		return rc;
	if (list.flags || list.reserved ||
	    list.entry_size < offsetofend(struct vtpm_info, uuid))
		return -EINVAL;
	if (list.entry_size > PAGE_SIZE)
		return -E2BIG;

	do {
		n = vtpm_dev_collect(&list.cursor, devs,
				     min_t(u32, list.count - done,
					   VTPM_LIST_BATCH), &list.total);
		for (i = 0; i < n; i++) {
			if (!rc)
				rc = vtpm_list_entry(devs[i],
						     u64_to_user_ptr(list.entries +
						     (u64)done * list.entry_size),
						     list.entry_size);
			vtpm_dev_put(devs[i]);
			done++;
		}
		if (!rc && fatal_signal_pending(current))
			rc = -EINTR;
	} while (!rc && n && done < list.count);
	if (rc)
		return rc;

	list.size = size;
	list.count = done;
	return vtpm_copy_out(uarg, &list, sizeof(list), size);
}

static long vtpm_control_ioctl(struct file *file, unsigned int cmd,
			       unsigned long arg)
{
	void __user *uarg = (void __user *)arg;
	unsigned int nr = _IOC_NR(cmd);

	/* The size in cmd is the caller's, and may differ from ours. */
	if (_IOC_TYPE(cmd) != VTPM_IOC_MAGIC)
		return -ENOTTY;

	switch (nr) {
	case _IOC_NR(VTPM_IOC_VERSION):
		return vtpm_ioc_version(uarg);
	case _IOC_NR(VTPM_IOC_CREATE):
		return vtpm_ioc_create(uarg);
	case _IOC_NR(VTPM_IOC_ATTACH):
		return vtpm_ioc_attach(uarg);
	case _IOC_NR(VTPM_IOC_INFO):
		return vtpm_ioc_info(uarg);
	case _IOC_NR(VTPM_IOC_LIST):
		return vtpm_ioc_list(uarg);
	case _IOC_NR(VTPM_IOC_POWER_CYCLE):
		return vtpm_ioc_power_cycle(uarg);
	case _IOC_NR(VTPM_IOC_DESTROY):
	case _IOC_NR(VTPM_IOC_ABORT):
	case _IOC_NR(VTPM_IOC_RELEASE_NUMBER):
	case _IOC_NR(VTPM_IOC_WAKE):
		return vtpm_ioc_target(nr, uarg);
	default:
		return -ENOTTY;
	}
}

static int vtpm_control_open(struct inode *inode, struct file *file)
{
	struct vtpm_control *control;

	/* Once and here: the open file may go to a process that has it not. */
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;

	control = kzalloc(sizeof(*control), GFP_KERNEL_ACCOUNT);
	if (!control)
		return -ENOMEM;
	init_waitqueue_head(&control->wq);
	mutex_init(&control->read_lock);
	file->private_data = control;

	spin_lock(&vtpm_events_lock);
	list_add_tail(&control->list, &vtpm_controls);
	spin_unlock(&vtpm_events_lock);
	return stream_open(inode, file);
}

static int vtpm_control_release(struct inode *inode, struct file *file)
{
	struct vtpm_control *control = file->private_data;

	spin_lock(&vtpm_events_lock);
	list_del(&control->list);
	spin_unlock(&vtpm_events_lock);
	kfree(control);
	return 0;
}

static const struct file_operations vtpm_control_fops = {
	.owner = THIS_MODULE,
	.open = vtpm_control_open,
	.read = vtpm_control_read,
	.poll = vtpm_control_poll,
	.unlocked_ioctl = vtpm_control_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.release = vtpm_control_release,
};

static struct miscdevice vtpm_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "vtpm",
	.fops = &vtpm_control_fops,
	.mode = 0600,
};

int vtpm_control_init(void)
{
	return misc_register(&vtpm_misc);
}

void vtpm_control_exit(void)
{
	misc_deregister(&vtpm_misc);
}
