// SPDX-License-Identifier: GPL-2.0-only
/*
 * The engine's side of an exchange: what moves enum vtpm_xchg_state when a frame is
 * fetched and a reply is given.  The file that carries them is in channel.c.
 */
#include <linux/freezer.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/string.h>

#include "compat.h"
#include "internal.h"
#include "trace.h"

/* The tag of a reply to a command whose own tag was not understood. */
#define VTPM_ST_RSP_COMMAND	0x00C4

/**
 * vtpm_chan_error() - may this engine still do anything?
 * @chan: its channel, the device locked
 *
 * Return: 0, -ESHUTDOWN if the device is dead, or -EPIPE if the engine is fenced.
 */
int vtpm_chan_error(struct vtpm_chan *chan)
	__must_hold(&chan->dev->lock)
{
	if (chan->dev->state == VTPM_STATE_DEAD)
		return -ESHUTDOWN;
	if (chan->dev->chan != chan)
		return -EPIPE;
	return 0;
}

/**
 * vtpm_peek() - which frame is next?
 * @chan: the engine's channel, the device locked
 * @frame: out: its header
 *
 * Return: 0, -EAGAIN if there is none, or what vtpm_chan_error() says.
 */
int vtpm_peek(struct vtpm_chan *chan, struct vtpm_frame *frame)
	__must_hold(&chan->dev->lock)
{
	struct vtpm_dev *dev = chan->dev;
	int rc = vtpm_chan_error(chan);

	if (rc)
		return rc;

	memset(frame, 0, sizeof(*frame));
	if (dev->xchg == VTPM_XCHG_STALE && dev->cancel) {
		frame->type = VTPM_FRAME_CANCEL;
		frame->seq = dev->sequence;
	} else if (chan->wake) {
		frame->type = VTPM_FRAME_WAKE;
	} else if (dev->xchg == VTPM_XCHG_QUEUED) {
		frame->type = VTPM_FRAME_COMMAND;
		frame->seq = dev->sequence;
		frame->len = dev->cmd_len;
		if (dev->bootstrap)
			frame->flags |= VTPM_FRAME_F_BOOTSTRAP;
		if (dev->delivered)
			frame->flags |= VTPM_FRAME_F_REDELIVERED;
	} else {
		return -EAGAIN;
	}
	return 0;
}

/* The engine has the frame.  false if it is not the next one any more. */
static bool vtpm_commit(struct vtpm_chan *chan, const struct vtpm_frame *frame)
	__must_hold(&chan->dev->lock)
{
	struct vtpm_dev *dev = chan->dev;

	if (vtpm_chan_error(chan))
		return false;

	switch (frame->type) {
	case VTPM_FRAME_CANCEL:
		if (dev->xchg != VTPM_XCHG_STALE || frame->seq != dev->sequence)
			return false;
		dev->cancel = false;
		break;
	case VTPM_FRAME_WAKE:
		chan->wake = false;
		break;
	case VTPM_FRAME_COMMAND:
		if (dev->xchg != VTPM_XCHG_QUEUED || frame->seq != dev->sequence)
			return false;
		if (dev->delivered)
			dev->redeliveries++;
		dev->delivered = true;
		dev->xchg = VTPM_XCHG_TAKEN;
		break;
	}
	trace_vtpm_frame_fetch(dev, frame);
	return true;
}

/**
 * vtpm_fetch_begin() - wait for a frame, and get a copy of it
 * @chan: the engine's channel
 * @frame: out: the header; the bytes are at chan->out
 * @nonblock: do not wait
 *
 * A fetch is begin, copy to user memory without a lock, end.  The frame is taken
 * only at the end: a copy that fails or hangs, or a client that gives up meanwhile,
 * needs no roll-back.
 *
 * Return: 0, and vtpm_fetch_end() must follow, or a negative errno.
 */
int vtpm_fetch_begin(struct vtpm_chan *chan, struct vtpm_frame *frame,
		     bool nonblock)
{
	struct vtpm_dev *dev = chan->dev;
	struct vtpm_wait busy;
	DEFINE_WAIT(wait);
	bool waited = false;
	int rc;

	spin_lock(&dev->lock);
	for (;;) {
		rc = vtpm_peek(chan, frame);
		if (!rc && chan->fetching) {
			chan->contended = true;
			rc = -EAGAIN;
		}
		if (rc != -EAGAIN || nonblock)
			break;
		if (signal_pending(current)) {
			rc = -ERESTARTSYS;
			break;
		}
		if (!waited)
			vtpm_wait_begin(dev, &dev->engines, &busy);
		waited = true;
		if (vtpm_wait_spin(dev, &dev->engines, &busy))
			continue;
		prepare_to_wait(&dev->engines.wq, &wait,
				TASK_INTERRUPTIBLE | TASK_FREEZABLE);
		spin_unlock(&dev->lock);
		schedule();
		finish_wait(&dev->engines.wq, &wait);
		spin_lock(&dev->lock);
	}
	if (waited)
		vtpm_wait_end(dev, &dev->engines, &busy,
			      !rc && frame->type == VTPM_FRAME_COMMAND);
	if (!rc) {
		chan->fetching = true;
		memcpy(chan->out, dev->cmd, frame->len);
	}
	spin_unlock(&dev->lock);
	return rc;
}

/**
 * vtpm_fetch_end() - take the frame, if it reached the engine
 * @chan: the engine's channel
 * @frame: the header
 * @rc: 0 if it did
 *
 * Return: true if the frame is taken.  If not, and @rc is 0, try again.
 */
bool vtpm_fetch_end(struct vtpm_chan *chan, const struct vtpm_frame *frame,
		    int rc)
{
	struct vtpm_dev *dev = chan->dev;
	bool taken = false;

	memzero_explicit(chan->out, frame->len);
	spin_lock(&dev->lock);
	if (!rc)
		taken = vtpm_commit(chan, frame);
	chan->fetching = false;
	if (chan->contended) {
		chan->contended = false;
		vtpm_notify(&dev->engines, false);
	}
	spin_unlock(&dev->lock);
	return taken;
}

/*
 * tpm2_get_pcr_allocation() of the core believes the count and the lengths of a
 * TPML_PCR_SELECTION, and copies up to 255 bytes from a structure of 3.
 */
static bool vtpm_cap_pcrs_valid(const u8 *reply, u32 len, bool bootstrap)
{
	const u32 fixed = TPM_HEADER_SIZE + 1 + 4 + 4;
	u32 pos = fixed, count;
	u8 size;

	if (len < fixed || reply[TPM_HEADER_SIZE + 1] ||
	    reply[TPM_HEADER_SIZE + 2] || reply[TPM_HEADER_SIZE + 3] ||
	    reply[TPM_HEADER_SIZE + 4] != TPM2_CAP_PCRS)
		return false;

	count = (u32)reply[fixed - 4] << 24 | reply[fixed - 3] << 16 |
		reply[fixed - 2] << 8 | reply[fixed - 1];
	while (count--) {
		/* TPMI_ALG_HASH, sizeofSelect, pcrSelect */
		if (len - pos < 3)
			return false;
		size = reply[pos + 2];
		if (len - pos - 3 < size)
			return false;
		if (bootstrap && size > TPM2_PCR_SELECT_MIN)
			return false;
		pos += 3 + size;
	}
	return pos == len;
}

/* Is the reply of @len bytes at chan->in a TPM 2.0 reply? */
static bool vtpm_reply_valid(const u8 *reply, u32 len)
{
	const struct tpm_header *header = (const void *)reply;
	u16 tag;

	if (len < TPM_HEADER_SIZE || be32_to_cpu(header->length) != len)
		return false;
	tag = be16_to_cpu(header->tag);
	return tag == TPM2_ST_NO_SESSIONS || tag == TPM2_ST_SESSIONS ||
	       tag == VTPM_ST_RSP_COMMAND;
}

/**
 * vtpm_bad_reply() - count a malformed reply
 * @dev: the device, locked
 * @seq: its number
 *
 * Return: -EBADMSG.
 */
int vtpm_bad_reply(struct vtpm_dev *dev, u64 seq)
	__must_hold(&dev->lock)
{
	dev->bad_replies++;
	trace_vtpm_frame_drop(dev, seq, -EBADMSG);
	return -EBADMSG;
}

/**
 * vtpm_reply() - take the reply at chan->in
 * @chan: the engine's channel, its reply_lock held
 * @seq: number of the frame that it answers
 * @len: bytes of it
 * @waits: the caller is about to wait for a frame
 *
 * Return: 0 or a negative errno.
 */
int vtpm_reply(struct vtpm_chan *chan, u64 seq, u32 len, bool waits)
	__must_hold(&chan->reply_lock)
{
	const struct tpm_header *header = (const void *)chan->in;
	struct vtpm_dev *dev = chan->dev;
	bool valid = vtpm_reply_valid(chan->in, len);
	u32 code;
	int rc;

	spin_lock(&dev->lock);
	rc = vtpm_chan_error(chan);
	if (rc)
		goto out;

	if (seq != dev->sequence || (dev->xchg != VTPM_XCHG_TAKEN &&
				     dev->xchg != VTPM_XCHG_STALE)) {
		rc = -ESTALE;
		dev->stale_replies++;
		trace_vtpm_frame_drop(dev, seq, rc);
		goto out;
	}
	if (!valid) {
		rc = vtpm_bad_reply(dev, seq);
		goto out;
	}

	if (dev->xchg == VTPM_XCHG_STALE) {
		/* Owed, but nobody waits for it. */
		dev->xchg = VTPM_XCHG_IDLE;
		dev->cancel = false;
		trace_vtpm_frame_drop(dev, seq, 0);
		vtpm_notify(&dev->clients, false);
		goto out;
	}

	code = be32_to_cpu(header->return_code);
	if (dev->cap_pcrs && code == TPM2_RC_SUCCESS &&
	    !vtpm_cap_pcrs_valid(chan->in, len, dev->bootstrap)) {
		rc = vtpm_bad_reply(dev, seq);
		goto out;
	}
	if (dev->bootstrap && code != TPM2_RC_SUCCESS)
		dev->register_tpm_rc = code;

	memcpy(dev->reply, chan->in, len);
	dev->reply_len = len;
	memzero_explicit(dev->cmd, dev->cmd_len);
	dev->xchg = VTPM_XCHG_IDLE;
	dev->client = false;
	dev->commands++;
	trace_vtpm_frame_reply(dev, seq, len, code);
	vtpm_notify(&dev->clients, waits && !vtpm_will_spin(dev, &dev->engines));
out:
	spin_unlock(&dev->lock);
	return rc;
}
