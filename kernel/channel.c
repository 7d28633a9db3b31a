// SPDX-License-Identifier: GPL-2.0-only
/*
 * The engine file: read(), write(), poll() and VTPM_IOC_XCHG.
 */
#include <linux/anon_inodes.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

#include "compat.h"
#include "internal.h"

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

static void vtpm_buf_free(u8 *buf)
{
	if (buf)
		memzero_explicit(buf, VTPM_FRAME_MAX);
	free_page((unsigned long)buf);
}

static void vtpm_chan_free(struct vtpm_chan *chan)
{
	vtpm_buf_free(chan->in);
	vtpm_buf_free(chan->out);
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
	/* Pages: hardened usercopy has less to look up than for slab objects. */
	chan->in = (u8 *)__get_free_page(GFP_KERNEL_ACCOUNT);
	chan->out = (u8 *)__get_free_page(GFP_KERNEL_ACCOUNT);
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
