// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which devices there are, and what is done to all of them.
 */
#include <linux/err.h>
#include <linux/hashtable.h>
#include <linux/jhash.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/string.h>
#include <linux/wait.h>

#include "compat.h"
#include "internal.h"

/* How long a system sleep waits for commands in flight, all devices together. */
#define VTPM_DRAIN_TIME		(2 * HZ)

static DEFINE_MUTEX(vtpm_registry_lock);
static LIST_HEAD(vtpm_devices); /* in the order of vtpm_dev.id */
static DEFINE_HASHTABLE(vtpm_by_uuid, 10);
static unsigned int vtpm_count;
static u64 vtpm_last_id;
static bool vtpm_down; /* the system is going down */

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
	struct vtpm_dev *dev = vtpm_dev_alloc(args);
	int rc;

	if (!dev)
		return ERR_PTR(-ENOMEM);
	mutex_lock(&vtpm_registry_lock);
	rc = vtpm_insert(dev);
	mutex_unlock(&vtpm_registry_lock);
	if (rc) {
		vtpm_dev_put(dev);
		return ERR_PTR(rc);
	}
	return dev;
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
