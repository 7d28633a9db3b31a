// SPDX-License-Identifier: GPL-2.0-only
/*
 * What moves the state machines of a device from outside of an exchange: engines that
 * come and go, ABORT, WAKE, POWER_CYCLE, and the end.
 */
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/random.h>
#include <linux/string.h>

#include "internal.h"
#include "trace.h"

/**
 * vtpm_set_state() - the only place where vtpm_dev.state changes
 * @dev: the device, locked
 * @state: the new state
 */
void vtpm_set_state(struct vtpm_dev *dev, enum vtpm_state state)
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

/**
 * vtpm_kill() - send everybody away for good
 * @dev: the device, locked
 *
 * Return: false if that has been done before.
 */
bool vtpm_kill(struct vtpm_dev *dev)
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
