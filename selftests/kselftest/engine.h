/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A stub TPM for the tests of vtpm.ko.
 *
 * It answers what the TPM core sends while it registers a chip, and a vendor
 * command that is sent back as it came.  It can be told to misbehave.
 */
#ifndef VTPM_SELFTEST_ENGINE_H
#define VTPM_SELFTEST_ENGINE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <linux/vtpm.h>

#define TPM_HEADER		10	/* tag, length, code */

#define TPM_ST_NO_SESSIONS	0x8001
#define TPM_CC_SELF_TEST	0x143
#define TPM_CC_STARTUP		0x144
#define TPM_CC_SHUTDOWN		0x145
#define TPM_CC_GET_CAPABILITY	0x17a
#define TPM_CC_GET_RANDOM	0x17b
#define TPM_CC_PCR_READ		0x17e
/* Vendor bit: the reply holds the bytes of the command after its header. */
#define TPM_CC_ECHO		0x20000001

#define TPM_CAP_COMMANDS	2
#define TPM_CAP_PCRS		5
#define TPM_CAP_PROPERTIES	6

#define TPM_RC_FAILURE		0x101
#define TPM_RC_COMMAND_CODE	0x143

/* The in-kernel duration of GetCapability, the shortest there is: 750 ms. */
#define GETCAP_DURATION_MS	750

enum engine_kind {
	ENGINE_GOOD,
	ENGINE_SILENT,		/* take the command, never answer */
	ENGINE_LATE,		/* answer after delay_ms */
	ENGINE_EMPTY,		/* a reply of no bytes */
	ENGINE_SHORT,		/* less than a TPM header */
	ENGINE_LONG,		/* one byte more than VTPM_FRAME_MAX */
	ENGINE_WRONG_LENGTH,	/* TPM header says one byte more than there is */
	ENGINE_GARBAGE,		/* random bytes */
	ENGINE_ERROR,		/* well-formed, response code rc */
	ENGINE_BYTES,		/* the reply that is given */
	ENGINE_CLOSE,		/* take the command, close the file */
};

/**
 * struct engine - one stub
 * @fd: engine fd; the stub closes it if @kind is ENGINE_CLOSE
 * @kind: what goes wrong, ENGINE_GOOD for nothing
 * @cc: command code that it goes wrong with, 0 for each
 * @cap: with TPM_CC_GET_CAPABILITY: only this capability, 0 for each
 * @recover: after a reply was refused, answer properly
 * @delay_ms: ENGINE_LATE
 * @rc: ENGINE_ERROR
 * @bytes: ENGINE_BYTES: behind the reply's header
 * @len: bytes at @bytes
 * @frames: commands seen
 * @cancels: VTPM_FRAME_CANCEL seen
 * @wakes: VTPM_FRAME_WAKE seen
 * @faults: how often it misbehaved
 * @error: positive errno of the last reply that was refused, or 0
 * @last: last header seen
 * @first_cc: command code of the first frame
 * @all_bootstrap: every command had VTPM_FRAME_F_BOOTSTRAP
 */
struct engine {
	int fd;
	enum engine_kind kind;
	__u32 cc;
	__u32 cap;
	bool recover;
	unsigned int delay_ms;
	__u32 rc;
	const __u8 *bytes;
	size_t len;

	unsigned int frames;
	unsigned int cancels;
	unsigned int wakes;
	unsigned int faults;
	int error;
	struct vtpm_frame last;
	__u32 first_cc;
	bool all_bootstrap;

	pthread_t thread;
	int stop;
};

void engine_init(struct engine *e, int fd);
__u32 get32(const __u8 *p);
void put32(__u8 *p, __u32 v);
void put16(__u8 *p, __u16 v);
size_t tpm_header(__u8 *buf, __u32 code, size_t len);
size_t engine_answer(const __u8 *cmd, size_t len, __u8 *reply);
int engine_fetch(int fd, struct vtpm_frame *frame, __u8 *buf);
int engine_reply(int fd, __u64 seq, const __u8 *bytes, size_t len);
int engine_step(struct engine *e);
int engine_start(struct engine *e);
void engine_stop(struct engine *e);

#endif
