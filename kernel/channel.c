// SPDX-License-Identifier: GPL-2.0-only
/*
 * The engine's side of an exchange: read(), write(), poll() and VTPM_IOC_XCHG.
 */
#include <linux/anon_inodes.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/freezer.h>
#include <linux/fs.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

#include "compat.h"
#include "internal.h"
#include "trace.h"

/* The tag of a reply to a command whose own tag was not understood. */
#define VTPM_ST_RSP_COMMAND	0x00C4

static int vtpm_chan_error(struct vtpm_chan *chan)
	__must_hold(&chan->dev->lock)
{
	if (chan->dev->state == VTPM_STATE_DEAD)
		return -ESHUTDOWN;
	if (chan->dev->chan != chan)
		return -EPIPE;
	return 0;
}

/* Which frame is next?  -EAGAIN if there is none. */
static int vtpm_peek(struct vtpm_chan *chan, struct vtpm_frame *frame)
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

/*
 * A fetch is begin, copy to user memory without a lock, end.  The frame is taken
 * only at the end: a copy that fails or hangs, or a client that gives up meanwhile,
 * needs no roll-back.
 */
static int vtpm_fetch_begin(struct vtpm_chan *chan, struct vtpm_frame *frame,
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

/* true if the frame counts as fetched; if not, @rc or, if that is 0, try again. */
static bool vtpm_fetch_end(struct vtpm_chan *chan,
			   const struct vtpm_frame *frame, int rc)
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

static int vtpm_bad_reply(struct vtpm_dev *dev, u64 seq)
	__must_hold(&dev->lock)
{
	dev->bad_replies++;
	trace_vtpm_frame_drop(dev, seq, -EBADMSG);
	return -EBADMSG;
}

/* Take the reply at chan->in.  @waits: the caller is about to wait for a frame. */
static int vtpm_reply(struct vtpm_chan *chan, u64 seq, u32 len, bool waits)
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

static ssize_t vtpm_chan_read_iter(struct kiocb *iocb, struct iov_iter *to)
{
	struct vtpm_chan *chan = iocb->ki_filp->private_data;
	bool nonblock = iocb->ki_flags & IOCB_NOWAIT ||
			iocb->ki_filp->f_flags & O_NONBLOCK;
	struct vtpm_frame frame;
	size_t size, copied;
	int rc;

	for (;;) {
		rc = vtpm_fetch_begin(chan, &frame, nonblock);
		if (rc)
			return rc;

		size = sizeof(frame) + frame.len;
		copied = 0;
		if (iov_iter_count(to) < size) {
			rc = -EMSGSIZE;
		} else {
			copied = copy_to_iter(&frame, sizeof(frame), to);
			if (copied == sizeof(frame))
				copied += copy_to_iter(chan->out, frame.len, to);
			if (copied != size)
				rc = -EFAULT;
		}
		if (vtpm_fetch_end(chan, &frame, rc))
			return size;
		if (rc)
			return rc;
		iov_iter_revert(to, copied);
	}
}

static ssize_t vtpm_chan_write_iter(struct kiocb *iocb, struct iov_iter *from)
{
	struct vtpm_chan *chan = iocb->ki_filp->private_data;
	size_t count = iov_iter_count(from);
	struct vtpm_dev *dev = chan->dev;
	struct vtpm_frame frame;
	int rc;

	if (count > sizeof(frame) + VTPM_FRAME_MAX)
		return -EMSGSIZE;

	rc = mutex_lock_interruptible(&chan->reply_lock);
	if (rc)
		return rc;

	memset(&frame, 0, sizeof(frame));
	if (count >= sizeof(frame)) {
		if (!copy_from_iter_full(&frame, sizeof(frame), from) ||
		    !copy_from_iter_full(chan->in, count - sizeof(frame), from)) {
			rc = -EFAULT;
			goto out;
		}
	}
	if (count < sizeof(frame) || frame.len != count - sizeof(frame) ||
	    frame.type || frame.locality || frame.flags) {
		spin_lock(&dev->lock);
		rc = vtpm_chan_error(chan);
		if (!rc)
			rc = vtpm_bad_reply(dev, frame.seq);
		spin_unlock(&dev->lock);
		goto out;
	}
	rc = vtpm_reply(chan, frame.seq, frame.len, false);
out:
	if (count > sizeof(frame))
		memzero_explicit(chan->in, count - sizeof(frame));
	mutex_unlock(&chan->reply_lock);
	return rc ? rc : count;
}

static int vtpm_xchg_reply(struct vtpm_chan *chan, const struct vtpm_xchg *xchg)
{
	int rc;

	if (xchg->reply_len > VTPM_FRAME_MAX)
		return -EMSGSIZE;

	rc = mutex_lock_interruptible(&chan->reply_lock);
	if (rc)
		return -EINTR;
	if (copy_from_user(chan->in, u64_to_user_ptr(xchg->reply),
			   xchg->reply_len))
		rc = -EFAULT;
	else
		rc = vtpm_reply(chan, xchg->reply_seq, xchg->reply_len,
				!(xchg->flags & VTPM_XCHG_NOWAIT));
	memzero_explicit(chan->in, xchg->reply_len);
	mutex_unlock(&chan->reply_lock);
	return rc;
}

/* Copy the results back: everything from xchg.frame on. */
static int vtpm_xchg_return(struct vtpm_xchg __user *uxchg,
			    const struct vtpm_xchg *xchg)
{
	const size_t start = offsetof(struct vtpm_xchg, frame);

	if (copy_to_user((u8 __user *)uxchg + start, (const u8 *)xchg + start,
			 offsetofend(struct vtpm_xchg, replied) - start))
		return -EFAULT;
	return 0;
}

static long vtpm_chan_xchg(struct file *file, struct vtpm_xchg __user *uxchg)
{
	struct vtpm_chan *chan = file->private_data;
	struct vtpm_xchg xchg;
	bool nonblock;
	u32 size;
	int rc;

	if (get_user(size, &uxchg->size))
		return -EFAULT;
	if (size < offsetofend(struct vtpm_xchg, replied))
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	rc = copy_struct_from_user(&xchg, sizeof(xchg), uxchg, size);
	if (rc)
		return rc;
	if (xchg.flags & ~VTPM_XCHG_NOWAIT || xchg.reserved ||
	    xchg.buf_len < VTPM_FRAME_MAX)
		return -EINVAL;

	nonblock = xchg.flags & VTPM_XCHG_NOWAIT || file->f_flags & O_NONBLOCK;
	memset(&xchg.frame, 0, sizeof(xchg.frame));
	xchg.replied = 0;
	if (xchg.reply_len) {
		rc = vtpm_xchg_reply(chan, &xchg);
		if (rc) {
			if (vtpm_xchg_return(uxchg, &xchg))
				return -EFAULT;
			return rc;
		}
		xchg.replied = 1;
	}

	for (;;) {
		rc = vtpm_fetch_begin(chan, &xchg.frame, nonblock);
		if (rc)
			break;
		if (copy_to_user(u64_to_user_ptr(xchg.buf), chan->out,
				 xchg.frame.len))
			rc = -EFAULT;
		else
			rc = vtpm_xchg_return(uxchg, &xchg);
		if (vtpm_fetch_end(chan, &xchg.frame, rc))
			return 0;
		if (rc)
			break;
	}

	memset(&xchg.frame, 0, sizeof(xchg.frame));
	if (vtpm_xchg_return(uxchg, &xchg))
		return -EFAULT;
	/* Never restarted by itself: that would send the reply again. */
	return rc == -ERESTARTSYS ? -EINTR : rc;
}

static long vtpm_chan_ioctl(struct file *file, unsigned int cmd,
			    unsigned long arg)
{
	/* The size in cmd is the caller's, and may differ from ours. */
	if (_IOC_TYPE(cmd) != VTPM_IOC_MAGIC ||
	    _IOC_NR(cmd) != _IOC_NR(VTPM_IOC_XCHG))
		return -ENOTTY;
	return vtpm_chan_xchg(file, (void __user *)arg);
}

static __poll_t vtpm_chan_poll(struct file *file, poll_table *wait)
{
	struct vtpm_chan *chan = file->private_data;
	struct vtpm_dev *dev = chan->dev;
	struct vtpm_frame frame;
	__poll_t mask = 0;
	int rc;

	poll_wait(file, &dev->engines.wq, wait);
	spin_lock(&dev->lock);
	rc = vtpm_peek(chan, &frame);
	if (!rc)
		mask |= EPOLLIN | EPOLLRDNORM;
	if (rc && rc != -EAGAIN)
		mask |= EPOLLHUP;
	else if (dev->xchg == VTPM_XCHG_TAKEN || dev->xchg == VTPM_XCHG_STALE)
		mask |= EPOLLOUT | EPOLLWRNORM;
	spin_unlock(&dev->lock);
	return mask;
}

static void vtpm_chan_free(struct vtpm_chan *chan)
{
	kfree_sensitive(chan->in);
	kfree_sensitive(chan->out);
	kfree(chan);
}

static int vtpm_chan_release(struct inode *inode, struct file *file)
{
	struct vtpm_chan *chan = file->private_data;
	struct vtpm_dev *dev = chan->dev;

	vtpm_detach(chan);
	vtpm_chan_free(chan);
	vtpm_dev_put(dev);
	return 0;
}

static const struct file_operations vtpm_chan_fops = {
	.owner = THIS_MODULE,
	.read_iter = vtpm_chan_read_iter,
	.write_iter = vtpm_chan_write_iter,
	.poll = vtpm_chan_poll,
	.unlocked_ioctl = vtpm_chan_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.release = vtpm_chan_release,
};

/**
 * vtpm_chan_open() - make an engine file
 * @dev: the device; the file takes a reference
 *
 * The file is fenced until vtpm_attach() is called with it.
 *
 * Return: the file, or an ERR_PTR().
 */
struct file *vtpm_chan_open(struct vtpm_dev *dev)
{
	struct vtpm_chan *chan;
	struct file *file;

	chan = kzalloc(sizeof(*chan), GFP_KERNEL_ACCOUNT);
	if (!chan)
		return ERR_PTR(-ENOMEM);
	mutex_init(&chan->reply_lock);
	chan->dev = dev;
	chan->in = kmalloc(VTPM_FRAME_MAX, GFP_KERNEL_ACCOUNT);
	chan->out = kmalloc(VTPM_FRAME_MAX, GFP_KERNEL_ACCOUNT);
	if (!chan->in || !chan->out) {
		file = ERR_PTR(-ENOMEM);
		goto err;
	}

	file = anon_inode_getfile("[vtpm-engine]", &vtpm_chan_fops, chan, O_RDWR);
	if (IS_ERR(file))
		goto err;
	vtpm_dev_get(dev);
	return file;
err:
	vtpm_chan_free(chan);
	return file;
}
