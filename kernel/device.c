// SPDX-License-Identifier: GPL-2.0-only
/*
 * One device: how it is made, registered, described and destroyed.
 */
#include <linux/err.h>
#include <linux/kdev_t.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "compat.h"
#include "internal.h"

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

/**
 * vtpm_dev_alloc() - allocate a device
 * @args: valid arguments of VTPM_IOC_CREATE
 *
 * Return: the device, with one reference, or NULL.
 */
struct vtpm_dev *vtpm_dev_alloc(const struct vtpm_create *args)
{
	struct vtpm_dev *dev;

	dev = kzalloc(sizeof(*dev), GFP_KERNEL_ACCOUNT);
	if (!dev)
		return NULL;
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

	dev->cmd = kzalloc(VTPM_FRAME_MAX, GFP_KERNEL_ACCOUNT);
	dev->reply = kzalloc(VTPM_FRAME_MAX, GFP_KERNEL_ACCOUNT);
	if (!dev->cmd || !dev->reply) {
		vtpm_dev_put(dev);
		return NULL;
	}
	return dev;
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
	if (dev->registered && (dev->xchg != VTPM_XCHG_IDLE || dev->active))
		info->conditions |= VTPM_COND_BUSY;
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
