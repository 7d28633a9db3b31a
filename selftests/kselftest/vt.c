// SPDX-License-Identifier: GPL-2.0-only
/*
 * Devices and events: see vt.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vt.h"

int vt_open(void)
{
	int fd = open("/dev/vtpm", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

/* A control file, and no device. */
int vt_setup(void)
{
	int fd;

	signal(SIGPIPE, SIG_IGN);
	fd = vt_open();
	if (fd >= 0) {
		vt_wipe(fd);
		vt_drain(fd);
	}
	return fd;
}

void vt_uuid(__u8 *uuid)
{
	if (getrandom(uuid, VTPM_UUID_SIZE, 0) != VTPM_UUID_SIZE)
		abort();
	uuid[0] |= 1; /* never nil */
}

int vt_ioctl(int fd, unsigned long cmd, void *arg)
{
	int rc = ioctl(fd, cmd, arg);

	return rc < 0 ? -errno : rc;
}

/* Fills in what the caller left zero: size, uuid. */
int vt_create(int control, struct vtpm_create *c)
{
	static const __u8 nil[VTPM_UUID_SIZE];

	c->size = sizeof(*c);
	if (!memcmp(c->uuid, nil, sizeof(nil)))
		vt_uuid(c->uuid);
	return vt_ioctl(control, VTPM_IOC_CREATE, c);
}

/* Returns the engine fd. */
int vt_attach(int control, const struct vtpm_create *c, __u32 flags,
	      __u64 *sequence)
{
	struct vtpm_attach a = { .size = sizeof(a), .flags = flags };
	int rc;

	memcpy(a.uuid, c->uuid, sizeof(a.uuid));
	memcpy(a.power_id, c->power_id, sizeof(a.power_id));
	rc = vt_ioctl(control, VTPM_IOC_ATTACH, &a);
	if (rc)
		return rc;
	if (sequence)
		*sequence = a.sequence;
	return a.engine_fd;
}

int vt_target(int control, unsigned long cmd, const __u8 *uuid)
{
	struct vtpm_target t = { .size = sizeof(t) };

	memcpy(t.uuid, uuid, sizeof(t.uuid));
	return vt_ioctl(control, cmd, &t);
}

int vt_info(int control, const __u8 *uuid, struct vtpm_info *info)
{
	memset(info, 0, sizeof(*info));
	info->size = sizeof(*info);
	memcpy(info->uuid, uuid, sizeof(info->uuid));
	return vt_ioctl(control, VTPM_IOC_INFO, info);
}

/* How many devices there are. */
int vt_total(int control)
{
	struct vtpm_list list = {
		.size = sizeof(list), .entry_size = sizeof(struct vtpm_info),
	};
	int rc = vt_ioctl(control, VTPM_IOC_LIST, &list);

	return rc ? rc : (int)list.total;
}

/* Release the number as soon as that can be done. */
int vt_release(int control, const __u8 *uuid)
{
	long end = vt_now_ms() + VT_PATIENCE_MS;
	int rc;

	do {
		rc = vt_target(control, VTPM_IOC_RELEASE_NUMBER, uuid);
		if (rc != -EBUSY)
			return rc;
		usleep(2000);
	} while (vt_now_ms() < end);
	return -ETIMEDOUT;
}

void vt_wipe(int control)
{
	struct vtpm_info infos[32];
	struct vtpm_list list;
	unsigned int i, round;

	for (round = 0; round < 64; round++) {
		memset(&list, 0, sizeof(list));
		list.size = sizeof(list);
		list.entries = (unsigned long)infos;
		list.entry_size = sizeof(infos[0]);
		list.count = 32;
		if (vt_ioctl(control, VTPM_IOC_LIST, &list) || !list.count)
			return;
		for (i = 0; i < list.count; i++)
			vt_target(control, VTPM_IOC_DESTROY, infos[i].uuid);
		for (i = 0; i < list.count; i++)
			vt_release(control, infos[i].uuid);
	}
}

/* 1 if there is something to read, 0 after @timeout_ms. */
int vt_readable(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int rc = poll(&p, 1, timeout_ms);

	return rc < 0 ? -errno : !!(p.revents & POLLIN);
}

/* The poll mask of now, or of the first change within @timeout_ms. */
int vt_poll(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT };
	int rc = poll(&p, 1, timeout_ms);

	return rc < 0 ? -errno : p.revents;
}

int vt_nonblock(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);

	flags = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
	return fcntl(fd, F_SETFL, flags) ? -errno : 0;
}

/*
 * The next event of @type (0: any) of the device @uuid (NULL: any); others are
 * thrown away.  -ETIMEDOUT if there is none within @timeout_ms.
 */
int vt_event(int control, const __u8 *uuid, __u32 type, int timeout_ms,
	     struct vtpm_event *event)
{
	long end = vt_now_ms() + timeout_ms;
	struct vtpm_event e;
	long left;
	ssize_t n;

	for (;;) {
		left = end - vt_now_ms();
		if (vt_readable(control, left > 0 ? left : 0) != 1)
			return -ETIMEDOUT;
		n = read(control, &e, sizeof(e));
		if (n < 0)
			return -errno;
		if (n != sizeof(e))
			return -EPROTO;
		if (type && e.type != type)
			continue;
		if (uuid && memcmp(e.uuid, uuid, sizeof(e.uuid)))
			continue;
		if (event)
			*event = e;
		return 0;
	}
}

void vt_drain(int control)
{
	while (!vt_event(control, NULL, 0, 0, NULL))
		;
}

/* Serve until the event REGISTERED comes: 0, or what went wrong on the way to it. */
int vt_serve_registration(int control, struct engine *e,
			  const struct vtpm_create *c, struct vtpm_event *event)
{
	long end = vt_now_ms() + 2 * VT_PATIENCE_MS;

	while (vt_now_ms() < end) {
		struct pollfd p[2] = {
			{ .fd = e->fd, .events = POLLIN },
			{ .fd = control, .events = POLLIN },
		};

		if (poll(p, 2, 1000) < 0)
			return -errno;
		if (p[0].revents & POLLIN)
			engine_step(e);
		else if (p[0].revents & POLLHUP)
			e->fd = -1;
		if (p[1].revents & POLLIN &&
		    !vt_event(control, c->uuid, VTPM_EVENT_REGISTERED, 0, event))
			return 0;
	}
	return -ETIMEDOUT;
}

/* A registered device whose idle engine fd is c->engine_fd. */
int vt_make(int control, struct vtpm_create *c)
{
	struct vtpm_event event;
	struct engine e;
	int rc;

	rc = vt_create(control, c);
	if (rc)
		return rc;
	engine_init(&e, c->engine_fd);
	rc = vt_nonblock(e.fd, true);
	if (!rc)
		rc = vt_serve_registration(control, &e, c, &event);
	return rc ? rc : -(int)event.error;
}

/* Open /dev/tpmN, or /dev/tpmrmN if @managed. */
int vt_node(const struct vtpm_create *c, bool managed, int flags)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/dev/tpm%s%u", managed ? "rm" : "",
		 c->tpm_number);
	fd = open(path, O_RDWR | O_CLOEXEC | flags);
	return fd < 0 ? -errno : fd;
}

/* The node's device number, 0 if there is no node. */
dev_t vt_node_devt(const struct vtpm_create *c, bool managed)
{
	struct stat st;
	char path[32];

	snprintf(path, sizeof(path), "/dev/tpm%s%u", managed ? "rm" : "",
		 c->tpm_number);
	return stat(path, &st) || !S_ISCHR(st.st_mode) ? 0 : st.st_rdev;
}
