// SPDX-License-Identifier: GPL-2.0-only
/*
 * Clients of /dev/tpmN, and odds and ends: see vt.h.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vt.h"

long vt_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000L + t.tv_nsec / 1000000;
}

/* Text of a small file, without its last newline. */
int vt_read_text(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;
	int rc = 0;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, size - 1);
	if (n < 0)
		rc = -errno;
	else
		buf[n && buf[n - 1] == '\n' ? n - 1 : n] = 0;
	close(fd);
	return rc;
}

int vt_write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

int vt_param_set(const char *path, unsigned int value)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", value);
	return vt_write_text(path, text);
}

int vt_count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	if (!dir)
		return -errno;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* Entries of a folder whose names begin with @prefix. */
int vt_entries(const char *path, const char *prefix)
{
	DIR *dir = opendir(path);
	struct dirent *d;
	int n = 0;

	if (!dir)
		return 0;
	while ((d = readdir(dir)))
		n += !strncmp(d->d_name, prefix, strlen(prefix));
	closedir(dir);
	return n;
}

/* An address of a page without access; the page in front of it can be written. */
void *vt_no_access(void)
{
	char *p = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || mprotect(p + 4096, 4096, PROT_NONE))
		abort();
	return p + 4096;
}

int vt_send_fd(int sock, int fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u = {};
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = u.buf, .msg_controllen = sizeof(u.buf),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	return sendmsg(sock, &msg, 0) < 0 ? -errno : 0;
}

int vt_recv_fd(int sock)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u = {};
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = u.buf, .msg_controllen = sizeof(u.buf),
	};
	struct cmsghdr *cmsg;
	int fd;

	if (recvmsg(sock, &msg, 0) < 0)
		return -errno;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg || cmsg->cmsg_type != SCM_RIGHTS)
		return -EPROTO;
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(int));
	return fd;
}

/* An echo command with @token and @body - 4 more bytes; @body is at least 4. */
size_t vt_cmd_echo(__u8 *cmd, __u32 token, size_t body)
{
	size_t i;

	for (i = 0; i < body; i++)
		cmd[TPM_HEADER + i] = token + i;
	put32(cmd + TPM_HEADER, token);
	return tpm_header(cmd, TPM_CC_ECHO, TPM_HEADER + body);
}

/* GetCapability of no properties: a command with a short time-out of the core. */
size_t vt_cmd_getcap(__u8 *cmd)
{
	put32(cmd + TPM_HEADER, TPM_CAP_PROPERTIES);
	put32(cmd + TPM_HEADER + 4, 0x100);
	put32(cmd + TPM_HEADER + 8, 1);
	return tpm_header(cmd, TPM_CC_GET_CAPABILITY, TPM_HEADER + 12);
}

/* Returns the length of the reply. */
int vt_transmit(int fd, const __u8 *cmd, size_t len, __u8 *reply)
{
	ssize_t n = write(fd, cmd, len);

	if (n < 0)
		return -errno;
	n = read(fd, reply, VTPM_FRAME_MAX);
	return n < 0 ? -errno : n;
}

/* A whole GetCapability: its response code, or a negative errno. */
int vt_getcap(int fd)
{
	__u8 cmd[64], reply[VTPM_FRAME_MAX];
	int rc = vt_transmit(fd, cmd, vt_cmd_getcap(cmd), reply);

	if (rc < 0)
		return rc;
	return rc < TPM_HEADER ? -EPROTO : (int)get32(reply + 6);
}

static void *client_thread(void *arg)
{
	struct vt_client *c = arg;
	long start = vt_now_ms();

	c->rc = vt_transmit(c->fd, c->cmd, c->len, c->reply);
	c->ms = vt_now_ms() - start;
	return NULL;
}

/* Send c->len bytes at c->cmd. */
int vt_client_start(struct vt_client *c, int fd)
{
	c->fd = fd;
	c->rc = 0;
	return -pthread_create(&c->thread, NULL, client_thread, c);
}

int vt_client_echo(struct vt_client *c, int fd, __u32 token)
{
	c->len = vt_cmd_echo(c->cmd, token, 16);
	return vt_client_start(c, fd);
}

int vt_client_getcap(struct vt_client *c, int fd)
{
	c->len = vt_cmd_getcap(c->cmd);
	return vt_client_start(c, fd);
}

/* Wait for the end of the client; c->rc is valid if that was true. */
bool vt_client_done(struct vt_client *c, int timeout_ms)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += timeout_ms / 1000;
	t.tv_nsec += timeout_ms % 1000 * 1000000L;
	if (t.tv_nsec >= 1000000000L) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000L;
	}
	return !pthread_timedjoin_np(c->thread, NULL, &t);
}

/* Is it still blocked after a while? */
bool vt_client_waits(struct vt_client *c)
{
	return !vt_client_done(c, VT_QUIET_MS);
}

/* Was the reply the one to this very command? */
bool vt_client_echoed(const struct vt_client *c)
{
	return c->rc == (int)c->len && get32(c->reply + 6) == 0 &&
	       !memcmp(c->reply + TPM_HEADER, c->cmd + TPM_HEADER,
		       c->len - TPM_HEADER);
}

/* A client as a process, for killing: exits with 0 or the errno. */
pid_t vt_fork_client(int fd, __u32 token)
{
	__u8 cmd[64], reply[VTPM_FRAME_MAX];
	size_t len;
	pid_t pid;
	int rc;

	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* An engine fd of ours would keep the engine attached. */
	if (fd > 3)
		close_range(3, fd - 1, 0);
	close_range(fd + 1, ~0U, 0);
	len = vt_cmd_echo(cmd, token, 16);
	rc = vt_transmit(fd, cmd, len, reply);
	_exit(rc < 0 ? -rc : rc != (int)len);
}

/*
 * Exit code of a child, 1000 + the signal that ended it, or -ETIMEDOUT if it lives
 * after @timeout_ms.
 */
int vt_reap(pid_t pid, int timeout_ms)
{
	long end = vt_now_ms() + timeout_ms;
	int status;
	pid_t got;

	for (;;) {
		got = waitpid(pid, &status, WNOHANG);
		if (got < 0)
			return -errno;
		if (got == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) :
						   1000 + WTERMSIG(status);
		if (vt_now_ms() >= end)
			return -ETIMEDOUT;
		usleep(2000);
	}
}

int vt_module_unload(void)
{
	return syscall(SYS_delete_module, "vtpm", O_NONBLOCK) ? -errno : 0;
}

/* The works of a device drop the module a moment after its last event. */
int vt_module_unload_soon(void)
{
	long end = vt_now_ms() + VT_PATIENCE_MS;
	int rc;

	do {
		rc = vt_module_unload();
		if (rc != -EWOULDBLOCK)
			return rc;
		usleep(10000);
	} while (vt_now_ms() < end);
	return rc;
}

int vt_module_load_fd(int fd)
{
	return syscall(SYS_finit_module, fd, "", 0) ? -errno : 0;
}

/* Load $VTPM_MODULE. */
int vt_module_load(void)
{
	const char *path = getenv("VTPM_MODULE");
	int fd, rc;

	fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return -errno;
	rc = vt_module_load_fd(fd);
	close(fd);
	return rc;
}
