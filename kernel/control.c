// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/vtpm: ioctls that create and control devices.  What the file is read for is in
 * events.c.
 */
#include <linux/capability.h>
#include <linux/err.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kdev_t.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/sched/signal.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "internal.h"

/* Devices that LIST looks up at a time. */
#define VTPM_LIST_BATCH		16

/*
 * One call: the argument, and where it came from.  All structures begin with their
 * size, and those of one device have its uuid at the same place.
 */
struct vtpm_call {
	void __user *uarg;
	u32 size;		/* the caller's */
	size_t ksize;		/* ours */
	union {
		struct {
			u32 size;
			u32 flags;
			u8 uuid[VTPM_UUID_SIZE];
		} any;
		struct vtpm_version version;
		struct vtpm_create create;
		struct vtpm_attach attach;
		struct vtpm_target target;
		struct vtpm_power_cycle power_cycle;
		struct vtpm_info info;
		struct vtpm_list list;
	} arg;
};

/**
 * struct vtpm_op - an ioctl
 * @ksize: of its structure
 * @min: what a caller must have of it at least, so that it can see the results
 * @valid: may be NULL; may the call be made at all?  Else it is -EINVAL
 * @run: do it; @dev is NULL if @on_device is not set
 * @on_device: the device with this uuid is looked up
 * @returns: the structure is copied back after success
 */
struct vtpm_op {
	size_t ksize;
	size_t min;
	bool (*valid)(const struct vtpm_call *call);
	int (*run)(struct vtpm_call *call, struct vtpm_dev *dev);
	bool on_device;
	bool returns;
};

/* The caller's structure, or ours if that is shorter. */
static int vtpm_call_return(struct vtpm_call *call)
{
	call->arg.any.size = call->size;
	return copy_to_user(call->uarg, &call->arg,
			    min_t(size_t, call->ksize, call->size)) ? -EFAULT : 0;
}

static int vtpm_run_version(struct vtpm_call *call, struct vtpm_dev *dev)
{
	memset(&call->arg.version, 0, sizeof(call->arg.version));
	call->arg.version.abi_major = VTPM_ABI_MAJOR;
	call->arg.version.abi_minor = VTPM_ABI_MINOR;
	strscpy(call->arg.version.module_version, VTPM_MODULE_VERSION,
		sizeof(call->arg.version.module_version));
	return 0;
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

static bool vtpm_create_valid(const struct vtpm_call *call)
{
	const struct vtpm_create *create = &call->arg.create;

	return !create->flags && !create->reserved[0] && !create->reserved[1] &&
	       memchr_inv(create->uuid, 0, VTPM_UUID_SIZE) &&
	       vtpm_label_valid(create->label) &&
	       create->command_timeout_ms <= VTPM_TIMEOUT_MAX_MS &&
	       create->detach_timeout_ms <= VTPM_TIMEOUT_MAX_MS;
}

static int vtpm_run_create(struct vtpm_call *call, struct vtpm_dev *dev)
{
	struct vtpm_create *create = &call->arg.create;
	struct file *engine;
	u64 sequence;
	int fd, rc;

	dev = vtpm_dev_reserve(create);
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

	create->engine_fd = fd;
	create->tpm_number = dev->tpm_number;
	create->dev_major = MAJOR(dev->devt);
	create->dev_minor = MINOR(dev->devt);
	create->devrm_major = MAJOR(dev->devt_rm);
	create->devrm_minor = MINOR(dev->devt_rm);
	create->command_timeout_ms = dev->command_timeout_ms;
	create->detach_timeout_ms = dev->detach_timeout_ms;
	memcpy(create->power_id, dev->power_id, VTPM_POWER_ID_SIZE);
	rc = vtpm_call_return(call);
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

static bool vtpm_attach_valid(const struct vtpm_call *call)
{
	return !(call->arg.attach.flags & ~VTPM_ATTACH_REPLACE) &&
	       !call->arg.attach.reserved;
}

static int vtpm_run_attach(struct vtpm_call *call, struct vtpm_dev *dev)
{
	struct vtpm_attach *attach = &call->arg.attach;
	struct file *engine;
	int fd, rc;

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	engine = vtpm_chan_open(dev);
	if (IS_ERR(engine)) {
		put_unused_fd(fd);
		return PTR_ERR(engine);
	}

	/* A bad address must not cost the engine that is attached now. */
	attach->engine_fd = fd;
	rc = vtpm_call_return(call);
	if (!rc)
		rc = vtpm_attach(dev, engine, attach->flags, attach->power_id,
				 &attach->sequence);
	if (!rc)
		rc = vtpm_call_return(call);
	if (rc) {
		fput(engine);
		put_unused_fd(fd);
		return rc;
	}
	fd_install(fd, engine);
	return 0;
}

static bool vtpm_target_valid(const struct vtpm_call *call)
{
	return !call->arg.target.flags && !call->arg.target.tpm_number &&
	       !call->arg.target.reserved;
}

static int vtpm_run_destroy(struct vtpm_call *call, struct vtpm_dev *dev)
{
	return vtpm_dev_destroy(dev);
}

static int vtpm_run_abort(struct vtpm_call *call, struct vtpm_dev *dev)
{
	return vtpm_abort(dev);
}

static int vtpm_run_wake(struct vtpm_call *call, struct vtpm_dev *dev)
{
	return vtpm_wake(dev);
}

static bool vtpm_release_valid(const struct vtpm_call *call)
{
	return vtpm_target_valid(call) ||
	       (call->arg.target.flags == VTPM_TARGET_NUMBER &&
		!call->arg.target.reserved);
}

static int vtpm_run_release(struct vtpm_call *call, struct vtpm_dev *dev)
{
	bool one = call->arg.target.flags == VTPM_TARGET_NUMBER;

	return vtpm_dev_release_number(call->arg.target.uuid,
				       one ? &call->arg.target.tpm_number : NULL);
}

static bool vtpm_no_flags(const struct vtpm_call *call)
{
	return !call->arg.any.flags;
}

static int vtpm_run_power_cycle(struct vtpm_call *call, struct vtpm_dev *dev)
{
	return vtpm_power_cycle(dev, call->arg.power_cycle.power_id);
}

static int vtpm_run_info(struct vtpm_call *call, struct vtpm_dev *dev)
{
	vtpm_dev_info(dev, &call->arg.info);
	return 0;
}

/* An entry is of the caller's size, all of it written. */
static int vtpm_list_entry(struct vtpm_dev *dev, void __user *entry, u32 size)
{
	struct vtpm_info info;

	vtpm_dev_info(dev, &info);
	info.size = size;
	if (copy_to_user(entry, &info, min_t(size_t, sizeof(info), size)))
		return -EFAULT;
	if (size > sizeof(info) &&
	    clear_user(entry + sizeof(info), size - sizeof(info)))
		return -EFAULT;
	return 0;
}

static int vtpm_run_list(struct vtpm_call *call, struct vtpm_dev *dev)
{
	struct vtpm_dev *devs[VTPM_LIST_BATCH];
	struct vtpm_list *list = &call->arg.list;
	unsigned int i, n;
	u32 done = 0;
	int rc = 0;

	if (list->reserved ||
	    list->entry_size < offsetofend(struct vtpm_info, uuid))
		return -EINVAL;
	if (list->entry_size > PAGE_SIZE)
		return -E2BIG;

	do {
		n = vtpm_dev_collect(&list->cursor, devs,
				     min_t(u32, list->count - done,
					   VTPM_LIST_BATCH), &list->total);
		for (i = 0; i < n; i++) {
			if (!rc)
				rc = vtpm_list_entry(devs[i],
						     u64_to_user_ptr(list->entries +
						     (u64)done * list->entry_size),
						     list->entry_size);
			vtpm_dev_put(devs[i]);
			done++;
		}
		if (!rc && fatal_signal_pending(current))
			rc = -EINTR;
	} while (!rc && n && done < list->count);
	list->count = done;
	return rc;
}

/* The first number, and where an ioctl is in the table. */
#define VTPM_OP_FIRST		_IOC_NR(VTPM_IOC_VERSION)
#define VTPM_OP(_ioc)		(_IOC_NR(_ioc) - VTPM_OP_FIRST)

static const struct vtpm_op vtpm_ops[] = {
	[VTPM_OP(VTPM_IOC_VERSION)] = {
		.ksize = sizeof(struct vtpm_version),
		.min = offsetofend(struct vtpm_version, abi_minor),
		.run = vtpm_run_version,
		.returns = true,
	},
	[VTPM_OP(VTPM_IOC_CREATE)] = {
		.ksize = sizeof(struct vtpm_create),
		.min = offsetofend(struct vtpm_create, power_id),
		.valid = vtpm_create_valid,
		.run = vtpm_run_create,
	},
	[VTPM_OP(VTPM_IOC_ATTACH)] = {
		.ksize = sizeof(struct vtpm_attach),
		.min = offsetofend(struct vtpm_attach, sequence),
		.valid = vtpm_attach_valid,
		.run = vtpm_run_attach,
		.on_device = true,
	},
	[VTPM_OP(VTPM_IOC_DESTROY)] = {
		.ksize = sizeof(struct vtpm_target),
		.min = offsetofend(struct vtpm_target, reserved),
		.valid = vtpm_target_valid,
		.run = vtpm_run_destroy,
		.on_device = true,
	},
	[VTPM_OP(VTPM_IOC_INFO)] = {
		.ksize = sizeof(struct vtpm_info),
		.min = offsetofend(struct vtpm_info, uuid),
		.valid = vtpm_no_flags,
		.run = vtpm_run_info,
		.on_device = true,
		.returns = true,
	},
	[VTPM_OP(VTPM_IOC_LIST)] = {
		.ksize = sizeof(struct vtpm_list),
		.min = offsetofend(struct vtpm_list, total),
		.valid = vtpm_no_flags,
		.run = vtpm_run_list,
		.returns = true,
	},
	[VTPM_OP(VTPM_IOC_ABORT)] = {
		.ksize = sizeof(struct vtpm_target),
		.min = offsetofend(struct vtpm_target, reserved),
		.valid = vtpm_target_valid,
		.run = vtpm_run_abort,
		.on_device = true,
	},
	[VTPM_OP(VTPM_IOC_POWER_CYCLE)] = {
		.ksize = sizeof(struct vtpm_power_cycle),
		.min = offsetofend(struct vtpm_power_cycle, power_id),
		.valid = vtpm_no_flags,
		.run = vtpm_run_power_cycle,
		.on_device = true,
		.returns = true,
	},
	[VTPM_OP(VTPM_IOC_RELEASE_NUMBER)] = {
		.ksize = sizeof(struct vtpm_target),
		.min = offsetofend(struct vtpm_target, reserved),
		.valid = vtpm_release_valid,
		.run = vtpm_run_release,
	},
	[VTPM_OP(VTPM_IOC_WAKE)] = {
		.ksize = sizeof(struct vtpm_target),
		.min = offsetofend(struct vtpm_target, reserved),
		.valid = vtpm_target_valid,
		.run = vtpm_run_wake,
		.on_device = true,
	},
};

/* Copy the argument in, check it, find the device, do it, copy the result out. */
static int vtpm_call_run(const struct vtpm_op *op, struct vtpm_call *call)
{
	struct vtpm_dev *dev = NULL;
	int rc;

	if (get_user(call->size, (const u32 __user *)call->uarg))
		return -EFAULT;
	if (call->size < op->min)
		return -EINVAL;
	if (call->size > PAGE_SIZE)
		return -E2BIG;
	call->ksize = op->ksize;
	rc = copy_struct_from_user(&call->arg, op->ksize, call->uarg, call->size);
	if (rc)
		return rc;
	if (op->valid && !op->valid(call))
		return -EINVAL;

	if (op->on_device) {
		dev = vtpm_dev_find(call->arg.any.uuid);
		if (!dev)
			return -ENOENT;
	}
	rc = op->run(call, dev);
	if (!rc && op->returns)
		rc = vtpm_call_return(call);
	if (dev)
		vtpm_dev_put(dev);
	return rc;
}

static long vtpm_control_ioctl(struct file *file, unsigned int cmd,
			       unsigned long arg)
{
	struct vtpm_call call = { .uarg = (void __user *)arg };
	unsigned int op = VTPM_OP(cmd);

	/* The size in cmd is the caller's, and may differ from ours. */
	if (_IOC_TYPE(cmd) != VTPM_IOC_MAGIC || op >= ARRAY_SIZE(vtpm_ops))
		return -ENOTTY;
	op = array_index_nospec(op, ARRAY_SIZE(vtpm_ops));
	return vtpm_call_run(&vtpm_ops[op], &call);
}

static int vtpm_control_open(struct inode *inode, struct file *file)
{
	/* Once and here: the open file may go to a process that has it not. */
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;

	file->private_data = vtpm_events_open();
	if (!file->private_data)
		return -ENOMEM;
	return stream_open(inode, file);
}

static int vtpm_control_release(struct inode *inode, struct file *file)
{
	vtpm_events_close(file->private_data);
	return 0;
}

static const struct file_operations vtpm_control_fops = {
	.owner = THIS_MODULE,
	.open = vtpm_control_open,
	.read = vtpm_events_read,
	.poll = vtpm_events_poll,
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
