// SPDX-License-Identifier: GPL-2.0-only
/*
 * Events: each open file of /dev/vtpm has a queue of its own.
 */
#include <linux/freezer.h>
#include <linux/fs.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "internal.h"

/* Events that wait for one reader. */
#define VTPM_EVENTS		256

/*
 * Who reads events: one open file of /dev/vtpm.  When its queue is full, events are
 * dropped until it is read empty; the reader then finds VTPM_EVENT_OVERFLOW.
 */
struct vtpm_reader {
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
static LIST_HEAD(vtpm_readers);

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
	struct vtpm_reader *reader;

	memcpy(event.uuid, dev->uuid, VTPM_UUID_SIZE);

	spin_lock(&vtpm_events_lock);
	list_for_each_entry(reader, &vtpm_readers, list) {
		if (reader->overflow || reader->count == VTPM_EVENTS) {
			reader->overflow = true;
			continue;
		}
		reader->events[(reader->head + reader->count++) %
				VTPM_EVENTS] = event;
		wake_up_interruptible_poll(&reader->wq,
					   EPOLLIN | EPOLLRDNORM);
	}
	spin_unlock(&vtpm_events_lock);
}

static bool vtpm_event_peek(struct vtpm_reader *reader,
			    struct vtpm_event *event)
{
	bool found = true;

	spin_lock(&vtpm_events_lock);
	if (reader->count) {
		*event = reader->events[reader->head];
	} else if (reader->overflow) {
		memset(event, 0, sizeof(*event));
		event->type = VTPM_EVENT_OVERFLOW;
	} else {
		found = false;
	}
	spin_unlock(&vtpm_events_lock);
	return found;
}

static void vtpm_event_consume(struct vtpm_reader *reader)
{
	spin_lock(&vtpm_events_lock);
	if (reader->count) {
		reader->head = (reader->head + 1) % VTPM_EVENTS;
		reader->count--;
	} else {
		reader->overflow = false;
	}
	spin_unlock(&vtpm_events_lock);
}

/**
 * vtpm_events_read() - read() of /dev/vtpm
 * @file: its private_data is a reader
 * @buf: where events go
 * @len: bytes at @buf
 * @off: not used
 *
 * Return: bytes of whole events, or a negative errno.
 */
ssize_t vtpm_events_read(struct file *file, char __user *buf, size_t len,
			 loff_t *off)
{
	struct vtpm_reader *reader = file->private_data;
	struct vtpm_event event;
	ssize_t done = 0;
	int rc;

	if (len < sizeof(event))
		return -EINVAL;

	for (;;) {
		rc = mutex_lock_interruptible(&reader->read_lock);
		if (rc)
			return rc;
		while (len - done >= sizeof(event) &&
		       vtpm_event_peek(reader, &event)) {
			if (copy_to_user(buf + done, &event, sizeof(event))) {
				rc = -EFAULT;
				break;
			}
			vtpm_event_consume(reader);
			done += sizeof(event);
		}
		mutex_unlock(&reader->read_lock);
		if (done)
			return done;
		if (rc)
			return rc;
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		rc = wait_event_freezable(reader->wq,
					  vtpm_event_peek(reader, &event));
		if (rc)
			return rc;
	}
}

/**
 * vtpm_events_poll() - poll() of /dev/vtpm
 * @file: its private_data is a reader
 * @wait: see poll_wait()
 *
 * Return: EPOLLIN if there is an event.
 */
__poll_t vtpm_events_poll(struct file *file, poll_table *wait)
{
	struct vtpm_reader *reader = file->private_data;
	struct vtpm_event event;

	poll_wait(file, &reader->wq, wait);
	return vtpm_event_peek(reader, &event) ? EPOLLIN | EPOLLRDNORM : 0;
}

/**
 * vtpm_events_open() - begin to queue events for a file
 *
 * Return: its reader, or NULL.
 */
struct vtpm_reader *vtpm_events_open(void)
{
	struct vtpm_reader *reader;

	reader = kzalloc(sizeof(*reader), GFP_KERNEL_ACCOUNT);
	if (!reader)
		return NULL;
	init_waitqueue_head(&reader->wq);
	mutex_init(&reader->read_lock);

	spin_lock(&vtpm_events_lock);
	list_add_tail(&reader->list, &vtpm_readers);
	spin_unlock(&vtpm_events_lock);
	return reader;
}

/**
 * vtpm_events_close() - the file is closed
 * @reader: its reader, which goes
 */
void vtpm_events_close(struct vtpm_reader *reader)
{
	spin_lock(&vtpm_events_lock);
	list_del(&reader->list);
	spin_unlock(&vtpm_events_lock);
	kfree(reader);
}
