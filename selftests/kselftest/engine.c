// SPDX-License-Identifier: GPL-2.0-only
/*
 * The stub TPM: see engine.h.  Lengths and codes are those of TPM 2.0 Library,
 * Part 2 "Structures" and Part 3 "Commands".
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>
#include "kselftest.h"

#include "engine.h"

/* Command codes that the stub has, in order, as TPMA_CC. */
static const __u32 commands[] = {
	TPM_CC_SELF_TEST, TPM_CC_STARTUP, TPM_CC_SHUTDOWN,
	TPM_CC_GET_CAPABILITY, TPM_CC_GET_RANDOM, TPM_CC_PCR_READ,
	TPM_CC_ECHO,
};

#define COMMANDS	ARRAY_SIZE(commands)

__u32 get32(const __u8 *p)
{
	return (__u32)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

void put32(__u8 *p, __u32 v)
{
	p[0] = v >> 24;
	p[1] = v >> 16;
	p[2] = v >> 8;
	p[3] = v;
}

void put16(__u8 *p, __u16 v)
{
	p[0] = v >> 8;
	p[1] = v;
}

/* Header of a command or reply without sessions; returns its whole length. */
size_t tpm_header(__u8 *buf, __u32 code, size_t len)
{
	put16(buf, TPM_ST_NO_SESSIONS);
	put32(buf + 2, len);
	put32(buf + 6, code);
	return len;
}

void engine_init(struct engine *e, int fd)
{
	memset(e, 0, sizeof(*e));
	e->fd = fd;
	e->stop = -1;
	e->all_bootstrap = true;
}

static size_t answer_capability(const __u8 *cmd, size_t len, __u8 *reply)
{
	__u8 *p = reply + TPM_HEADER;
	__u32 cap = len >= 22 ? get32(cmd + 10) : 0;
	size_t i;

	*p++ = 0; /* moreData */
	put32(p, cap);
	p += 4;
	switch (cap) {
	case TPM_CAP_COMMANDS:
		put32(p, COMMANDS);
		p += 4;
		for (i = 0; i < COMMANDS; i++, p += 4)
			put32(p, commands[i]);
		break;
	case TPM_CAP_PROPERTIES:
		put32(p, 1);
		put32(p + 4, get32(cmd + 14));
		put32(p + 8, COMMANDS);
		p += 12;
		break;
	case TPM_CAP_PCRS:
		put32(p, 1);
		put16(p + 4, 0x000b); /* SHA-256 */
		p[6] = 3;
		memset(p + 7, 0xff, 3);
		p += 10;
		break;
	default:
		put32(p, 0);
		p += 4;
		break;
	}
	return tpm_header(reply, 0, p - reply);
}

/* A good reply of at most VTPM_FRAME_MAX bytes; returns its length. */
size_t engine_answer(const __u8 *cmd, size_t len, __u8 *reply)
{
	__u32 cc = len >= TPM_HEADER ? get32(cmd + 6) : 0;
	__u8 *p = reply + TPM_HEADER;
	size_t n;

	switch (cc) {
	case TPM_CC_SELF_TEST:
	case TPM_CC_STARTUP:
	case TPM_CC_SHUTDOWN:
		return tpm_header(reply, 0, TPM_HEADER);
	case TPM_CC_GET_CAPABILITY:
		return answer_capability(cmd, len, reply);
	case TPM_CC_GET_RANDOM:
		n = len >= 12 ? cmd[10] << 8 | cmd[11] : 0;
		if (n > 64)
			n = 64;
		put16(p, n);
		memset(p + 2, 0x5a, n);
		return tpm_header(reply, 0, TPM_HEADER + 2 + n);
	case TPM_CC_PCR_READ:
		put32(p, 1); /* pcrUpdateCounter */
		put32(p + 4, 1);
		put16(p + 8, 0x000b);
		p[10] = 3;
		memset(p + 11, 0xff, 3);
		put32(p + 14, 1);
		put16(p + 18, 32);
		memset(p + 20, 0, 32);
		return tpm_header(reply, 0, TPM_HEADER + 52);
	case TPM_CC_ECHO:
		memcpy(p, cmd + TPM_HEADER, len - TPM_HEADER);
		return tpm_header(reply, 0, len);
	default:
		return tpm_header(reply, TPM_RC_COMMAND_CODE, TPM_HEADER);
	}
}

/* One read(); returns the length of the TPM bytes at @buf, or a negative errno. */
int engine_fetch(int fd, struct vtpm_frame *frame, __u8 *buf)
{
	struct iovec iov[2] = {
		{ frame, sizeof(*frame) }, { buf, VTPM_FRAME_MAX },
	};
	ssize_t n = readv(fd, iov, 2);

	if (n < 0)
		return -errno;
	if (n < (ssize_t)sizeof(*frame) || n - sizeof(*frame) != frame->len)
		return -EPROTO;
	return frame->len;
}

/* One writev(); 0 or a negative errno. */
int engine_reply(int fd, __u64 seq, const __u8 *bytes, size_t len)
{
	struct vtpm_frame frame = { .seq = seq, .len = len };
	struct iovec iov[2] = {
		{ &frame, sizeof(frame) }, { (void *)bytes, len },
	};
	ssize_t n = writev(fd, iov, 2);

	if (n < 0)
		return -errno;
	return n == (ssize_t)(sizeof(frame) + len) ? 0 : -EPROTO;
}

static bool engine_matches(const struct engine *e, const __u8 *cmd, size_t len)
{
	__u32 cc = len >= TPM_HEADER ? get32(cmd + 6) : 0;

	if (e->kind == ENGINE_GOOD || (e->cc && e->cc != cc))
		return false;
	if (e->cap && (cc != TPM_CC_GET_CAPABILITY || len < 14 ||
		       get32(cmd + 10) != e->cap))
		return false;
	return true;
}

/* Turn the good reply of @len bytes into a bad one; returns its length. */
static size_t engine_spoil(struct engine *e, __u8 *reply, size_t len)
{
	size_t i;

	switch (e->kind) {
	case ENGINE_EMPTY:
		return 0;
	case ENGINE_SHORT:
		return TPM_HEADER - 1;
	case ENGINE_LONG:
		memset(reply + len, 0, VTPM_FRAME_MAX + 1 - len);
		return tpm_header(reply, 0, VTPM_FRAME_MAX + 1);
	case ENGINE_WRONG_LENGTH:
		put32(reply + 2, len + 1);
		return len;
	case ENGINE_GARBAGE:
		for (i = 0; i < len; i++)
			reply[i] = rand();
		/* Random, but never right. */
		reply[0] = 0xff;
		return len;
	case ENGINE_ERROR:
		return tpm_header(reply, e->rc, TPM_HEADER);
	case ENGINE_BYTES:
		memcpy(reply + TPM_HEADER, e->bytes, e->len);
		return tpm_header(reply, 0, TPM_HEADER + e->len);
	default:
		return len;
	}
}

/*
 * Fetch one frame and do what has to be done.  0, or a negative errno of the fetch
 * or of a good reply; -EBADF after ENGINE_CLOSE.
 */
int engine_step(struct engine *e)
{
	__u8 cmd[VTPM_FRAME_MAX], reply[VTPM_FRAME_MAX + 1];
	struct vtpm_frame frame;
	size_t good, sent;
	int rc;

	rc = engine_fetch(e->fd, &frame, cmd);
	if (rc < 0)
		return rc;
	e->last = frame;
	if (frame.type != VTPM_FRAME_COMMAND) {
		if (frame.type == VTPM_FRAME_CANCEL) {
			e->cancels++;
			/* The answer that is owed; its content is of no use. */
			engine_reply(e->fd, frame.seq, reply,
				     tpm_header(reply, TPM_RC_FAILURE,
						TPM_HEADER));
		} else {
			e->wakes++;
		}
		return 0;
	}

	if (!e->frames++)
		e->first_cc = get32(cmd + 6);
	if (!(frame.flags & VTPM_FRAME_F_BOOTSTRAP))
		e->all_bootstrap = false;
	good = engine_answer(cmd, frame.len, reply);
	if (!engine_matches(e, cmd, frame.len))
		return engine_reply(e->fd, frame.seq, reply, good);

	e->faults++;
	switch (e->kind) {
	case ENGINE_SILENT:
		return 0;
	case ENGINE_CLOSE:
		close(e->fd);
		e->fd = -1;
		return -EBADF;
	case ENGINE_LATE:
		usleep(e->delay_ms * 1000);
		return engine_reply(e->fd, frame.seq, reply, good);
	default:
		break;
	}

	sent = engine_spoil(e, reply, good);
	rc = engine_reply(e->fd, frame.seq, reply, sent);
	e->error = -rc;
	if (rc && e->recover) {
		good = engine_answer(cmd, frame.len, reply);
		return engine_reply(e->fd, frame.seq, reply, good);
	}
	return 0;
}

static void *engine_thread(void *arg)
{
	struct engine *e = arg;

	for (;;) {
		struct pollfd p[2] = {
			{ .fd = e->fd, .events = POLLIN },
			{ .fd = e->stop, .events = POLLIN },
		};
		int rc;

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[1].revents || p[0].revents & (POLLHUP | POLLNVAL))
			break;
		rc = p[0].revents ? engine_step(e) : 0;
		if (rc == -EPIPE || rc == -ESHUTDOWN || rc == -EBADF)
			break;
	}
	return NULL;
}

/* Serve in a thread; e->fd must be O_NONBLOCK or have no other reader. */
int engine_start(struct engine *e)
{
	int rc;

	e->stop = eventfd(0, EFD_CLOEXEC);
	if (e->stop < 0)
		return -errno;
	rc = pthread_create(&e->thread, NULL, engine_thread, e);
	if (rc) {
		close(e->stop);
		e->stop = -1;
	}
	return -rc;
}

/* End the thread; the engine fd stays open. */
void engine_stop(struct engine *e)
{
	__u64 one = 1;

	if (e->stop < 0)
		return;
	if (write(e->stop, &one, sizeof(one)) != sizeof(one))
		abort();
	pthread_join(e->thread, NULL);
	close(e->stop);
	e->stop = -1;
}
