// SPDX-License-Identifier: GPL-2.0-only
/*
 * The registry of devices, and the life of one.
 */
#include <linux/err.h>
#include <linux/hashtable.h>
#include <linux/jhash.h>
#include <linux/jiffies.h>
#include <linux/kdev_t.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "compat.h"
#include "internal.h"
#include "trace.h"

/* How long a system sleep waits for commands in flight, all devices together. */
#define VTPM_DRAIN_TIME		(2 * HZ)

static DEFINE_MUTEX(vtpm_registry_lock);
static LIST_HEAD(vtpm_devices); /* in the order of vtpm_dev.id */
static DEFINE_HASHTABLE(vtpm_by_uuid, 10);
static unsigned int vtpm_count;
static u64 vtpm_last_id;
static bool vtpm_down; /* the system is going down */

static void vtpm_dev_free(struct kref *ref)
{
	struct vtpm_dev *dev = container_of(ref, struct vtpm_dev, ref);

	kfree_sensitive(dev->cmd);
	kfree_sensitive(dev->reply);
	kfree_sensitive(dev);
}

void vtpm_dev_get(struct vtpm_dev *dev)
{
	kref_get(&dev->ref);
}

void vtpm_dev_put(struct vtpm_dev *dev)
{
	kref_put(&dev->ref, vtpm_dev_free);
}

static void vtpm_set_state(struct vtpm_dev *dev, enum vtpm_state state)
	__must_hold(&dev->lock)
{
	trace_vtpm_state(dev, dev->state, state);
	WRITE_ONCE(dev->state, state);
}

/**
 * vtpm_give_up() - the client leaves without a reply
 * @dev: a locked device with a client
 * @rc: what send() returns
 */
void vtpm_give_up(struct vtpm_dev *dev, int rc)
	__must_hold(&dev->lock)
{
	trace_vtpm_frame_give_up(dev, dev->sequence, rc);
	memzero_explicit(dev->cmd, dev->cmd_len);
	dev->client = false;
	dev->rc = rc;
	if (dev->xchg == VTPM_XCHG_TAKEN) {
		dev->xchg = VTPM_XCHG_STALE;
		dev->cancel = true;
		dev->stale_deadline = jiffies +
				msecs_to_jiffies(dev->command_timeout_ms);
		vtpm_notify(&dev->engines, false);
	} else {
		dev->xchg = VTPM_XCHG_IDLE;
	}
	vtpm_notify(&dev->clients, false);
}

/* The attached engine is no more.  Its frame waits for the next one. */
static void vtpm_unlink(struct vtpm_dev *dev)
	__must_hold(&dev->lock)
{
	dev->chan = NULL;
	dev->cancel = false;
	if (dev->xchg == VTPM_XCHG_TAKEN)
		dev->xchg = VTPM_XCHG_QUEUED;
	else if (dev->xchg == VTPM_XCHG_STALE)
		dev->xchg = VTPM_XCHG_IDLE;
	if (dev->client)
		dev->deadline = jiffies +
				msecs_to_jiffies(dev->detach_timeout_ms);
	if (dev->state == VTPM_STATE_LIVE)
		vtpm_set_state(dev, VTPM_STATE_DETACHED);
	vtpm_notify(&dev->clients, false);
	vtpm_notify(&dev->engines, false);
}

/* Send everybody away for good.  false if that has been done before. */
static bool vtpm_kill(struct vtpm_dev *dev)
	__must_hold(&dev->lock)
{
	if (dev->state == VTPM_STATE_DEAD)
		return false;
	if (dev->client)
		vtpm_give_up(dev, -EPIPE);
	vtpm_set_state(dev, VTPM_STATE_DEAD);
	dev->orphaned = false;
	vtpm_unlink(dev);
	return true;
}

/**
 * vtpm_attach() - attach an engine
 * @dev: the device
 * @engine: its file, from vtpm_chan_open()
 * @flags: 0 or VTPM_ATTACH_REPLACE
 * @power_id: what the caller shows; NULL at creation
 * @sequence: out: of the last frame
 *
 * Return: 0, -ESHUTDOWN, -ESTALE or -EBUSY.
 */
int vtpm_attach(struct vtpm_dev *dev, struct file *engine, u32 flags,
		const u8 *power_id, u64 *sequence)
{
	int rc = 0;

	spin_lock(&dev->lock);
	if (dev->state == VTPM_STATE_DEAD) {
		rc = -ESHUTDOWN;
	} else if (power_id &&
		   memcmp(power_id, dev->power_id, VTPM_POWER_ID_SIZE)) {
		rc = -ESTALE;
	} else if (dev->chan && !(flags & VTPM_ATTACH_REPLACE)) {
		rc = -EBUSY;
	} else {
		if (dev->chan) {
			trace_vtpm_fence(dev);
			vtpm_unlink(dev);
		}
		dev->chan = engine->private_data;
		dev->orphaned = false;
		dev->attaches++;
		trace_vtpm_attach(dev);
		if (dev->state == VTPM_STATE_DETACHED)
			vtpm_set_state(dev, VTPM_STATE_LIVE);
		if (dev->client) {
			dev->deadline = jiffies + dev->timeout;
			vtpm_notify(&dev->clients, false);
		}
		*sequence = dev->sequence;
	}
	spin_unlock(&dev->lock);
	return rc;
}

/**
 * vtpm_detach() - an engine file is closed
 * @chan: its channel, attached or fenced
 */
void vtpm_detach(struct vtpm_chan *chan)
{
	struct vtpm_dev *dev = chan->dev;

	spin_lock(&dev->lock);
	if (dev->chan == chan) {
		trace_vtpm_orphan(dev);
		vtpm_unlink(dev);
		dev->orphaned = true;
		vtpm_event(dev, VTPM_EVENT_ORPHANED, 0);
		if (dev->xchg == VTPM_XCHG_QUEUED)
			vtpm_event(dev, VTPM_EVENT_WANTED, 0);
	}
	spin_unlock(&dev->lock);
}

/**
 * vtpm_abort() - fail the command in flight
 * @dev: the device
 *
 * Return: 0 or -ENODATA.
 */
int vtpm_abort(struct vtpm_dev *dev)
{
	int rc = -ENODATA;

	spin_lock(&dev->lock);
	if (dev->client) {
		dev->aborts++;
		vtpm_give_up(dev, -EPIPE);
		rc = 0;
	}
	spin_unlock(&dev->lock);
	return rc;
}

/**
 * vtpm_wake() - let the engine fetch a VTPM_FRAME_WAKE
 * @dev: the device
 *
 * Return: 0 or -ENOTCONN.
 */
int vtpm_wake(struct vtpm_dev *dev)
{
	int rc = -ENOTCONN;

	spin_lock(&dev->lock);
	if (dev->chan) {
		dev->chan->wake = true;
		vtpm_notify(&dev->engines, false);
		rc = 0;
	}
	spin_unlock(&dev->lock);
	return rc;
}

/**
 * vtpm_power_cycle() - fence the engine, fail the command, change the power id
 * @dev: the device
 * @power_id: out: the new id
 *
 * Return: 0, -ESHUTDOWN or -EBUSY.
 */
int vtpm_power_cycle(struct vtpm_dev *dev, u8 *power_id)
{
	int rc = 0;

	get_random_bytes(power_id, VTPM_POWER_ID_SIZE);

	spin_lock(&dev->lock);
	if (dev->state == VTPM_STATE_DEAD) {
		rc = -ESHUTDOWN;
	} else if (dev->state != VTPM_STATE_LIVE &&
		   dev->state != VTPM_STATE_DETACHED) {
		rc = -EBUSY;
	} else {
		memcpy(dev->power_id, power_id, VTPM_POWER_ID_SIZE);
		if (dev->client)
			vtpm_give_up(dev, -EPIPE);
		if (dev->chan) {
			trace_vtpm_fence(dev);
			vtpm_unlink(dev);
		}
	}
	spin_unlock(&dev->lock);
	return rc;
}

/* After this only the number is left; -EBUSY of RELEASE_NUMBER ends here. */
static void vtpm_dev_teardown(struct vtpm_dev *dev)
{
	vtpm_chip_stop(dev);
	platform_device_del(dev->pdev);

	spin_lock(&dev->lock);
	dev->gone = true;
	spin_unlock(&dev->lock);
}

static void vtpm_event_locked(struct vtpm_dev *dev, u32 type, u32 error)
{
	spin_lock(&dev->lock);
	vtpm_event(dev, type, error);
	spin_unlock(&dev->lock);
}

static void vtpm_register_work(struct work_struct *work)
{
	struct vtpm_dev *dev = container_of(work, struct vtpm_dev, register_work);
	bool failed = false;
	int rc;

	spin_lock(&dev->lock);
	if (dev->state == VTPM_STATE_NEW)
		vtpm_set_state(dev, VTPM_STATE_REGISTERING);
	spin_unlock(&dev->lock);

	rc = vtpm_chip_start(dev);

	spin_lock(&dev->lock);
	if (dev->state == VTPM_STATE_DEAD) {
		/* Destroyed meanwhile: vtpm_destroy_work() waits for us. */
		rc = -ESHUTDOWN;
	} else if (rc) {
		failed = vtpm_kill(dev);
	} else {
		vtpm_set_state(dev, dev->chan ? VTPM_STATE_LIVE :
						VTPM_STATE_DETACHED);
	}
	dev->register_errno = -rc;
	if (!failed)
		vtpm_event(dev, VTPM_EVENT_REGISTERED, -rc);
	spin_unlock(&dev->lock);

	if (failed) {
		vtpm_dev_teardown(dev);
		vtpm_event_locked(dev, VTPM_EVENT_REGISTERED, -rc);
		module_put(THIS_MODULE);
	}
	vtpm_dev_put(dev);
}

static void vtpm_destroy_work(struct work_struct *work)
{
	struct vtpm_dev *dev = container_of(work, struct vtpm_dev, destroy_work);

	if (cancel_work_sync(&dev->register_work)) {
		vtpm_event_locked(dev, VTPM_EVENT_REGISTERED, ESHUTDOWN);
		vtpm_dev_put(dev);
	}
	vtpm_dev_teardown(dev);
	vtpm_event_locked(dev, VTPM_EVENT_DESTROYED, 0);
	module_put(THIS_MODULE);
	vtpm_dev_put(dev);
}

/**
 * vtpm_dev_destroy() - kill a device now, unregister it in the background
 * @dev: the device
 *
 * Return: 0 or -ESHUTDOWN.
 */
int vtpm_dev_destroy(struct vtpm_dev *dev)
{
	bool killed;

	spin_lock(&dev->lock);
	killed = vtpm_kill(dev);
	spin_unlock(&dev->lock);
	if (!killed)
		return -ESHUTDOWN;

	vtpm_dev_get(dev);
	queue_work(vtpm_destroy_wq, &dev->destroy_work);
	return 0;
}

static u32 vtpm_hash(const u8 *uuid)
{
	return jhash(uuid, VTPM_UUID_SIZE, 0);
}

/*
 * The newest device with this uuid, published or not.  Older ones are dead: a
 * uuid is used again once its device is dead, though its number is still held.
 * hash_add() puts the newest first.
 */
static struct vtpm_dev *vtpm_lookup(const u8 *uuid)
{
	struct vtpm_dev *dev;

	lockdep_assert_held(&vtpm_registry_lock);
	hash_for_each_possible(vtpm_by_uuid, dev, hash, vtpm_hash(uuid)) {
		if (!memcmp(dev->uuid, uuid, VTPM_UUID_SIZE))
			return dev;
	}
	return NULL;
}

/* Take the device out of the registry, and with it the registry's reference. */
static void vtpm_remove(struct vtpm_dev *dev)
{
	lockdep_assert_held(&vtpm_registry_lock);
	hash_del(&dev->hash);
	list_del(&dev->list);
	vtpm_count--;
}

static int vtpm_insert(struct vtpm_dev *dev)
{
	struct vtpm_dev *other;
	unsigned int same_owner = 0;

	lockdep_assert_held(&vtpm_registry_lock);
	if (vtpm_down)
		return -ESHUTDOWN;
	other = vtpm_lookup(dev->uuid);
	if (other && READ_ONCE(other->state) != VTPM_STATE_DEAD)
		return -EEXIST;
	if (vtpm_count >= READ_ONCE(vtpm_max_devices))
		return -ENOSPC;
	list_for_each_entry(other, &vtpm_devices, list)
		same_owner += uid_eq(other->owner, dev->owner);
	if (same_owner >= READ_ONCE(vtpm_max_devices_per_user))
		return -EUSERS;

	dev->id = ++vtpm_last_id;
	list_add_tail(&dev->list, &vtpm_devices);
	hash_add(vtpm_by_uuid, &dev->hash, vtpm_hash(dev->uuid));
	vtpm_count++;
	return 0;
}

/**
 * vtpm_dev_reserve() - allocate a device, and count it
 * @args: valid arguments of VTPM_IOC_CREATE
 *
 * Return: a device that is not published, or an ERR_PTR().
 */
struct vtpm_dev *vtpm_dev_reserve(const struct vtpm_create *args)
{
	struct vtpm_dev *dev;
	int rc = -ENOMEM;

	dev = kzalloc(sizeof(*dev), GFP_KERNEL_ACCOUNT);
	if (!dev)
		return ERR_PTR(-ENOMEM);
	dev->cmd = kzalloc(VTPM_FRAME_MAX, GFP_KERNEL_ACCOUNT);
	dev->reply = kzalloc(VTPM_FRAME_MAX, GFP_KERNEL_ACCOUNT);
	if (!dev->cmd || !dev->reply)
		goto err;

	kref_init(&dev->ref);
	spin_lock_init(&dev->lock);
	init_waitqueue_head(&dev->clients.wq);
	init_waitqueue_head(&dev->engines.wq);
	INIT_WORK(&dev->register_work, vtpm_register_work);
	INIT_WORK(&dev->destroy_work, vtpm_destroy_work);
	memcpy(dev->uuid, args->uuid, VTPM_UUID_SIZE);
	memcpy(dev->label, args->label, VTPM_LABEL_SIZE);
	dev->owner = current_uid();
	dev->command_timeout_ms = args->command_timeout_ms ?:
				  READ_ONCE(vtpm_command_timeout_ms);
	dev->detach_timeout_ms = args->detach_timeout_ms ?:
				 READ_ONCE(vtpm_detach_timeout_ms);
	dev->busy_wait_us = READ_ONCE(vtpm_busy_wait_us);
	get_random_bytes(dev->power_id, VTPM_POWER_ID_SIZE);

	mutex_lock(&vtpm_registry_lock);
	rc = vtpm_insert(dev);
	mutex_unlock(&vtpm_registry_lock);
	if (rc)
		goto err;
	return dev;
err:
	vtpm_dev_free(&dev->ref);
	return ERR_PTR(rc);
}

/**
 * vtpm_dev_add() - give a reserved device its parent and its chip
 * @dev: the device; vtpm_dev_abandon() undoes this, also after a failure
 *
 * Return: 0 or a negative errno.
 */
int vtpm_dev_add(struct vtpm_dev *dev)
{
	struct platform_device *pdev;
	int rc;

	pdev = platform_device_alloc("vtpm", PLATFORM_DEVID_AUTO);
	if (!pdev)
		return -ENOMEM;
	/* Before it is added, so that the event for udev finds them. */
	pdev->dev.groups = vtpm_groups;
	platform_set_drvdata(pdev, dev);
	rc = platform_device_add(pdev);
	if (rc) {
		platform_device_put(pdev);
		return rc;
	}
	dev->pdev = pdev;
	return vtpm_chip_create(dev);
}

/**
 * vtpm_dev_publish() - let the device be found, and start its registration
 * @dev: a complete device
 *
 * From here on the device pins the module until it is dead and gone.
 *
 * Return: 0 or -ESHUTDOWN.
 */
int vtpm_dev_publish(struct vtpm_dev *dev)
{
	mutex_lock(&vtpm_registry_lock);
	if (vtpm_down) {
		mutex_unlock(&vtpm_registry_lock);
		return -ESHUTDOWN;
	}
	__module_get(THIS_MODULE);
	dev->published = true;
	vtpm_dev_get(dev);
	queue_work(vtpm_register_wq, &dev->register_work);
	mutex_unlock(&vtpm_registry_lock);
	return 0;
}

/**
 * vtpm_dev_abandon() - undo the creation of a device
 * @dev: a device that is not published; the caller's use of it ends
 */
void vtpm_dev_abandon(struct vtpm_dev *dev)
{
	spin_lock(&dev->lock);
	vtpm_kill(dev);
	spin_unlock(&dev->lock);

	mutex_lock(&vtpm_registry_lock);
	vtpm_remove(dev);
	mutex_unlock(&vtpm_registry_lock);

	if (dev->chip)
		put_device(&dev->chip->dev);
	if (dev->pdev)
		platform_device_unregister(dev->pdev);
	vtpm_dev_put(dev);
}

/**
 * vtpm_dev_find() - look a device up
 * @uuid: its identity
 *
 * Return: the device, with a reference for the caller, or NULL.
 */
struct vtpm_dev *vtpm_dev_find(const u8 *uuid)
{
	struct vtpm_dev *dev;

	mutex_lock(&vtpm_registry_lock);
	dev = vtpm_lookup(uuid);
	if (dev && dev->published)
		vtpm_dev_get(dev);
	else
		dev = NULL;
	mutex_unlock(&vtpm_registry_lock);
	return dev;
}

/**
 * vtpm_dev_collect() - next devices in the order of creation
 * @cursor: in: id after which to begin; out: id of the last one collected
 * @devs: out: devices, each with a reference for the caller
 * @max: elements at @devs
 * @total: out: devices there are now
 *
 * Return: devices collected.
 */
unsigned int vtpm_dev_collect(u64 *cursor, struct vtpm_dev **devs,
			      unsigned int max, u32 *total)
{
	struct vtpm_dev *dev;
	unsigned int n = 0;

	*total = 0;
	mutex_lock(&vtpm_registry_lock);
	list_for_each_entry(dev, &vtpm_devices, list) {
		if (!dev->published)
			continue;
		++*total;
		if (dev->id <= *cursor || n == max)
			continue;
		vtpm_dev_get(dev);
		devs[n++] = dev;
	}
	mutex_unlock(&vtpm_registry_lock);
	if (n)
		*cursor = devs[n - 1]->id;
	return n;
}

static void vtpm_drop_number(struct vtpm_dev *dev)
{
	put_device(&dev->chip->dev);
	platform_device_put(dev->pdev);
	vtpm_dev_put(dev);
}

/* One dead device whose nodes are gone, taken out of the registry. */
static struct vtpm_dev *vtpm_remove_gone(const u8 *uuid, const u32 *number)
{
	struct vtpm_dev *dev;
	bool gone;

	lockdep_assert_held(&vtpm_registry_lock);
	hash_for_each_possible(vtpm_by_uuid, dev, hash, vtpm_hash(uuid)) {
		if (memcmp(dev->uuid, uuid, VTPM_UUID_SIZE) || !dev->published)
			continue;
		if (number && dev->tpm_number != *number)
			continue;
		spin_lock(&dev->lock);
		gone = dev->gone;
		spin_unlock(&dev->lock);
		if (gone) {
			vtpm_remove(dev);
			return dev;
		}
	}
	return NULL;
}

/**
 * vtpm_dev_release_number() - forget the dead devices with a uuid
 * @uuid: their identity
 * @number: only the one that had this number; NULL for all
 *
 * Return: 0, -ENOENT or -EBUSY.
 */
int vtpm_dev_release_number(const u8 *uuid, const u32 *number)
{
	struct vtpm_dev *dev;
	int rc = 0;

	mutex_lock(&vtpm_registry_lock);
	dev = vtpm_lookup(uuid);
	if (!dev || !dev->published)
		rc = -ENOENT;
	dev = rc ? NULL : vtpm_remove_gone(uuid, number);
	if (!rc && !dev)
		rc = -EBUSY;
	while (dev) {
		mutex_unlock(&vtpm_registry_lock);
		vtpm_drop_number(dev);
		mutex_lock(&vtpm_registry_lock);
		dev = vtpm_remove_gone(uuid, number);
	}
	mutex_unlock(&vtpm_registry_lock);
	return rc;
}

/* Module exit: every device is gone, or its reference would have kept us here. */
void vtpm_dev_release_all(void)
{
	struct vtpm_dev *dev, *next;

	list_for_each_entry_safe(dev, next, &vtpm_devices, list) {
		mutex_lock(&vtpm_registry_lock);
		vtpm_remove(dev);
		mutex_unlock(&vtpm_registry_lock);
		vtpm_drop_number(dev);
	}
}

/*
 * The system goes down.  tpm_class_shutdown() of the core would wait for a reply
 * to its Shutdown from each engine, and there are no engines any more.
 */
void vtpm_dev_kill_all(void)
{
	struct vtpm_dev *dev;

	mutex_lock(&vtpm_registry_lock);
	vtpm_down = true;
	list_for_each_entry(dev, &vtpm_devices, list) {
		spin_lock(&dev->lock);
		vtpm_kill(dev);
		spin_unlock(&dev->lock);
	}
	mutex_unlock(&vtpm_registry_lock);
}

/* Clients have to see that vtpm_held changed. */
static void vtpm_wake_clients(void)
{
	struct vtpm_dev *dev;

	lockdep_assert_held(&vtpm_registry_lock);
	list_for_each_entry(dev, &vtpm_devices, list) {
		spin_lock(&dev->lock);
		vtpm_notify(&dev->clients, false);
		spin_unlock(&dev->lock);
	}
}

static bool vtpm_dev_busy(struct vtpm_dev *dev)
{
	bool busy;

	spin_lock(&dev->lock);
	busy = dev->active && dev->chan;
	spin_unlock(&dev->lock);
	return busy;
}

/*
 * System sleep: let no transaction begin, and let those that have begun end.  One
 * that is slower than that is frozen in the middle of its command, with its client;
 * if another client waits for tpm_mutex then, the sleep fails.
 */
void vtpm_dev_hold_all(void)
{
	long left = VTPM_DRAIN_TIME;
	struct vtpm_dev *dev;

	mutex_lock(&vtpm_registry_lock);
	WRITE_ONCE(vtpm_held, true);
	vtpm_wake_clients();
	list_for_each_entry(dev, &vtpm_devices, list) {
		if (!left)
			break;
		left = wait_event_timeout(dev->clients.wq, !vtpm_dev_busy(dev),
					  left);
	}
	mutex_unlock(&vtpm_registry_lock);
}

void vtpm_dev_unhold_all(void)
{
	mutex_lock(&vtpm_registry_lock);
	WRITE_ONCE(vtpm_held, false);
	vtpm_wake_clients();
	mutex_unlock(&vtpm_registry_lock);
}

/**
 * vtpm_dev_info() - what INFO and LIST tell
 * @dev: the device
 * @info: out: all fields but size
 */
void vtpm_dev_info(struct vtpm_dev *dev, struct vtpm_info *info)
{
	memset(info, 0, sizeof(*info));
	memcpy(info->uuid, dev->uuid, VTPM_UUID_SIZE);
	memcpy(info->label, dev->label, VTPM_LABEL_SIZE);
	info->tpm_number = dev->tpm_number;
	info->dev_major = MAJOR(dev->devt);
	info->dev_minor = MINOR(dev->devt);
	info->devrm_major = MAJOR(dev->devt_rm);
	info->devrm_minor = MINOR(dev->devt_rm);
	info->owner_uid = from_kuid(&init_user_ns, dev->owner);
	info->command_timeout_ms = dev->command_timeout_ms;
	info->detach_timeout_ms = dev->detach_timeout_ms;

	spin_lock(&dev->lock);
	info->state = dev->state;
	if (dev->chan)
		info->conditions |= VTPM_COND_ATTACHED;
	else if (dev->client)
		info->conditions |= VTPM_COND_WANTED;
	if (dev->orphaned)
		info->conditions |= VTPM_COND_ORPHANED;
	if (dev->registered)
		info->conditions |= VTPM_COND_REGISTERED;
	if (dev->gone)
		info->conditions |= VTPM_COND_NUMBER_HELD;
	info->register_errno = dev->register_errno;
	info->register_tpm_rc = dev->register_tpm_rc;
	info->sequence = dev->sequence;
	info->commands = dev->commands;
	info->timeouts = dev->timeouts;
	info->aborts = dev->aborts;
	info->stale_replies = dev->stale_replies;
	info->bad_replies = dev->bad_replies;
	info->attaches = dev->attaches;
	info->redeliveries = dev->redeliveries;
	spin_unlock(&dev->lock);
}
