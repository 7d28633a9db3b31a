/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What all tests of vtpm.ko need: devices, events and clients.
 *
 * Functions return 0 or more, or a negative errno.  The tests own the machine:
 * vt_setup() and vt_wipe() remove every device there is.
 */
#ifndef VTPM_SELFTEST_VT_H
#define VTPM_SELFTEST_VT_H

#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <linux/vtpm.h>

#include "engine.h"

/* Longer than anything that is not stuck, in an emulated guest too. */
#define VT_PATIENCE_MS	8000
/* How long a test looks to see that nothing happens. */
#define VT_QUIET_MS	150

#define VT_PARAM(name)	"/sys/module/vtpm/parameters/" name

/* Control file */
int vt_open(void);
int vt_setup(void);
void vt_wipe(int control);
void vt_uuid(__u8 *uuid);
int vt_ioctl(int fd, unsigned long cmd, void *arg);
int vt_create(int control, struct vtpm_create *c);
int vt_attach(int control, const struct vtpm_create *c, __u32 flags,
	      __u64 *sequence);
int vt_target(int control, unsigned long cmd, const __u8 *uuid);
int vt_info(int control, const __u8 *uuid, struct vtpm_info *info);
int vt_total(int control);
int vt_event(int control, const __u8 *uuid, __u32 type, int timeout_ms,
	     struct vtpm_event *event);
void vt_drain(int control);

/* Registration, served from here */
int vt_serve_registration(int control, struct engine *e,
			  const struct vtpm_create *c, struct vtpm_event *event);
int vt_make(int control, struct vtpm_create *c);
int vt_release(int control, const __u8 *uuid);

/* Files */
int vt_readable(int fd, int timeout_ms);
int vt_poll(int fd, int timeout_ms);
int vt_nonblock(int fd, bool on);
int vt_node(const struct vtpm_create *c, bool managed, int flags);
dev_t vt_node_devt(const struct vtpm_create *c, bool managed);
int vt_entries(const char *path, const char *prefix);
int vt_read_text(const char *path, char *buf, size_t size);
int vt_write_text(const char *path, const char *text);
int vt_param_set(const char *path, unsigned int value);
int vt_count_fds(void);
void *vt_no_access(void);
long vt_now_ms(void);
int vt_send_fd(int sock, int fd);
int vt_recv_fd(int sock);

/* Clients of /dev/tpmN */
size_t vt_cmd_echo(__u8 *cmd, __u32 token, size_t body);
size_t vt_cmd_getcap(__u8 *cmd);
int vt_transmit(int fd, const __u8 *cmd, size_t len, __u8 *reply);
int vt_getcap(int fd);

/**
 * struct vt_client - one command in a thread
 * @fd: of /dev/tpmN; stays the caller's
 * @rc: length of the reply, or a negative errno
 */
struct vt_client {
	int fd;
	__u8 cmd[VTPM_FRAME_MAX];
	size_t len;
	__u8 reply[VTPM_FRAME_MAX];
	int rc;
	long ms;
	pthread_t thread;
};

int vt_client_start(struct vt_client *c, int fd);
int vt_client_echo(struct vt_client *c, int fd, __u32 token);
int vt_client_getcap(struct vt_client *c, int fd);
bool vt_client_done(struct vt_client *c, int timeout_ms);
bool vt_client_waits(struct vt_client *c);
bool vt_client_echoed(const struct vt_client *c);

pid_t vt_fork_client(int fd, __u32 token);
int vt_reap(pid_t pid, int timeout_ms);

/* vtpm.ko itself */
int vt_module_load(void);
int vt_module_load_fd(int fd);
int vt_module_unload(void);
int vt_module_unload_soon(void);

#endif
