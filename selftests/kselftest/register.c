// SPDX-License-Identifier: GPL-2.0-only
/*
 * Registrations that fail, and what they leave behind; hostile TPM_CAP_PCRS.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include "kselftest_harness.h"

#include "vt.h"

FIXTURE(start) {
	int control;
	struct vtpm_create dev;
	struct vtpm_event event;
	struct vtpm_info info;
	struct engine e;
};

FIXTURE_SETUP(start)
{
	self->control = vt_setup();
	ASSERT_GE(self->control, 0);
	self->dev.command_timeout_ms = 100;
	self->dev.detach_timeout_ms = 300;
	ASSERT_EQ(0, vt_create(self->control, &self->dev));
	engine_init(&self->e, self->dev.engine_fd);
	ASSERT_EQ(0, vt_nonblock(self->e.fd, true));
}

FIXTURE_TEARDOWN(start)
{
	vt_wipe(self->control);
}

static bool node_exists(const struct vtpm_create *c)
{
	char path[2][32];
	struct stat st;

	snprintf(path[0], sizeof(path[0]), "/dev/tpm%u", c->tpm_number);
	snprintf(path[1], sizeof(path[1]), "/dev/tpmrm%u", c->tpm_number);
	return !stat(path[0], &st) || !stat(path[1], &st);
}

static int platform_devices(void)
{
	DIR *dir = opendir("/sys/bus/platform/devices");
	struct dirent *d;
	int n = 0;

	while ((d = readdir(dir)))
		n += !strncmp(d->d_name, "vtpm", 4);
	closedir(dir);
	return n;
}

/* It failed with @err and @rc, and nothing of it is left but its number. */
#define expect_failed(err, rc) do { \
	ASSERT_EQ(0, vt_serve_registration(self->control, &self->e, \
					   &self->dev, &self->event)); \
	EXPECT_EQ(err, self->event.error); \
	EXPECT_EQ(rc, self->event.tpm_rc); \
	EXPECT_EQ(self->dev.tpm_number, self->event.tpm_number); \
	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &self->info)); \
	EXPECT_EQ(VTPM_STATE_DEAD, self->info.state); \
	EXPECT_EQ(VTPM_COND_NUMBER_HELD, self->info.conditions); \
	EXPECT_EQ(err, self->info.register_errno); \
	EXPECT_EQ(rc, self->info.register_tpm_rc); \
	EXPECT_FALSE(node_exists(&self->dev)); \
	EXPECT_EQ(0, platform_devices()); \
	EXPECT_EQ(-ESHUTDOWN, vt_target(self->control, VTPM_IOC_DESTROY, \
					self->dev.uuid)); \
	EXPECT_EQ(0, vt_target(self->control, VTPM_IOC_RELEASE_NUMBER, \
			       self->dev.uuid)); \
} while (0)

static void misbehave(struct engine *e, enum engine_kind kind, __u32 cc,
		      __u32 cap)
{
	e->kind = kind;
	e->cc = cc;
	e->cap = cap;
}

TEST_F(start, self_test_refused)
{
	struct vtpm_frame frame;
	__u8 buf[VTPM_FRAME_MAX];

	misbehave(&self->e, ENGINE_ERROR, TPM_CC_SELF_TEST, 0);
	self->e.rc = TPM_RC_FAILURE;
	expect_failed(ENODEV, TPM_RC_FAILURE);
	EXPECT_EQ(-ESHUTDOWN, engine_fetch(self->dev.engine_fd, &frame, buf));
	/* Its number is free for the next one. */
	memset(&self->dev, 0, sizeof(self->dev));
	ASSERT_EQ(0, vt_make(self->control, &self->dev));
	EXPECT_EQ(0, self->dev.tpm_number);
	EXPECT_TRUE(node_exists(&self->dev));
}

/* A SelfTest that wants Startup first is no failure. */
TEST_F(start, startup_wanted)
{
	__u8 cmd[VTPM_FRAME_MAX], reply[VTPM_FRAME_MAX];
	struct vtpm_frame frame;
	int n;

	ASSERT_EQ(1, vt_readable(self->e.fd, VT_PATIENCE_MS));
	ASSERT_LT(0, engine_fetch(self->e.fd, &frame, cmd));
	EXPECT_EQ(1, frame.seq);
	EXPECT_EQ(VTPM_FRAME_F_BOOTSTRAP, frame.flags);
	n = tpm_header(reply, 0x100, TPM_HEADER); /* TPM_RC_INITIALIZE */
	ASSERT_EQ(0, engine_reply(self->e.fd, 1, reply, n));
	ASSERT_EQ(0, vt_serve_registration(self->control, &self->e, &self->dev,
					   &self->event));
	EXPECT_EQ(TPM_CC_STARTUP, self->e.first_cc);
	EXPECT_EQ(0, self->event.error);
	EXPECT_EQ(0, self->event.tpm_rc);
	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &self->info));
	EXPECT_EQ(0x100, self->info.register_tpm_rc);
}

TEST_F(start, startup_refused)
{
	__u8 cmd[VTPM_FRAME_MAX], reply[VTPM_FRAME_MAX];
	struct vtpm_frame frame;
	int n;

	ASSERT_EQ(1, vt_readable(self->e.fd, VT_PATIENCE_MS));
	ASSERT_LT(0, engine_fetch(self->e.fd, &frame, cmd));
	n = tpm_header(reply, 0x100, TPM_HEADER);
	ASSERT_EQ(0, engine_reply(self->e.fd, 1, reply, n));
	misbehave(&self->e, ENGINE_ERROR, TPM_CC_STARTUP, 0);
	self->e.rc = TPM_RC_FAILURE;
	expect_failed(ENODEV, TPM_RC_FAILURE);
}

/* The core would make a chip without /dev/tpmrmN of this. */
TEST_F(start, no_command_table)
{
	misbehave(&self->e, ENGINE_ERROR, TPM_CC_GET_CAPABILITY,
		  TPM_CAP_COMMANDS);
	self->e.rc = TPM_RC_FAILURE;
	expect_failed(ENODEV, TPM_RC_FAILURE);
}

TEST_F(start, no_command_count)
{
	misbehave(&self->e, ENGINE_SILENT, TPM_CC_GET_CAPABILITY,
		  TPM_CAP_PROPERTIES);
	expect_failed(ENODEV, 0);
}

TEST_F(start, no_pcrs)
{
	misbehave(&self->e, ENGINE_ERROR, TPM_CC_GET_CAPABILITY, TPM_CAP_PCRS);
	self->e.rc = TPM_RC_FAILURE;
	expect_failed(ENODEV, TPM_RC_FAILURE);
}

TEST_F(start, silent)
{
	misbehave(&self->e, ENGINE_SILENT, TPM_CC_GET_CAPABILITY, TPM_CAP_PCRS);
	expect_failed(ETIME, 0);
	EXPECT_EQ(1, self->info.timeouts);
}

/* The engine goes away in the middle, and none comes. */
TEST_F(start, abandoned)
{
	misbehave(&self->e, ENGINE_CLOSE, TPM_CC_GET_CAPABILITY, TPM_CAP_PCRS);
	expect_failed(ETIME, 0);
	EXPECT_EQ(self->e.frames - 1, self->info.commands);
}

/* The engine goes away in the middle, and another one goes on. */
TEST_F(start, continued)
{
	unsigned int frames;

	misbehave(&self->e, ENGINE_CLOSE, TPM_CC_GET_CAPABILITY, 0);
	while (self->e.fd >= 0) {
		ASSERT_EQ(1, vt_readable(self->e.fd, VT_PATIENCE_MS));
		engine_step(&self->e);
	}
	ASSERT_EQ(0, vt_event(self->control, self->dev.uuid,
			      VTPM_EVENT_ORPHANED, VT_PATIENCE_MS, NULL));
	ASSERT_EQ(0, vt_event(self->control, self->dev.uuid,
			      VTPM_EVENT_WANTED, VT_PATIENCE_MS, &self->event));
	frames = self->e.frames;
	EXPECT_EQ(frames, self->event.sequence);
	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &self->info));
	EXPECT_EQ(VTPM_STATE_REGISTERING, self->info.state);

	engine_init(&self->e, vt_attach(self->control, &self->dev, 0, NULL));
	ASSERT_GE(self->e.fd, 0);
	ASSERT_EQ(1, vt_readable(self->e.fd, VT_PATIENCE_MS));
	ASSERT_EQ(0, engine_step(&self->e));
	EXPECT_EQ(VTPM_FRAME_F_BOOTSTRAP | VTPM_FRAME_F_REDELIVERED,
		  self->e.last.flags);
	EXPECT_EQ(frames, self->e.last.seq);
	ASSERT_EQ(0, vt_serve_registration(self->control, &self->e, &self->dev,
					   &self->event));
	EXPECT_EQ(0, self->event.error);
	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &self->info));
	EXPECT_EQ(VTPM_STATE_LIVE, self->info.state);
	EXPECT_EQ(1, self->info.redeliveries);
}

/* Registered by an engine that has gone by then. */
TEST_F(start, registered_without_engine)
{
	__u8 cmd[VTPM_FRAME_MAX], reply[VTPM_FRAME_MAX];
	struct vtpm_frame frame = {};
	bool last = false;
	int n;

	while (!last) {
		ASSERT_EQ(1, vt_readable(self->e.fd, VT_PATIENCE_MS));
		n = engine_fetch(self->e.fd, &frame, cmd);
		ASSERT_LT(0, n);
		last = get32(cmd + 6) == TPM_CC_GET_CAPABILITY &&
		       get32(cmd + 10) == TPM_CAP_PCRS;
		n = engine_answer(cmd, n, reply);
		ASSERT_EQ(0, engine_reply(self->e.fd, frame.seq, reply, n));
	}
	close(self->e.fd);
	ASSERT_EQ(0, vt_event(self->control, self->dev.uuid,
			      VTPM_EVENT_REGISTERED, VT_PATIENCE_MS,
			      &self->event));
	EXPECT_EQ(0, self->event.error);
	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &self->info));
	EXPECT_EQ(VTPM_STATE_DETACHED, self->info.state);
	EXPECT_EQ(VTPM_COND_ORPHANED | VTPM_COND_REGISTERED,
		  self->info.conditions);
	EXPECT_TRUE(node_exists(&self->dev));
}

/* Destroyed in the middle of registration, with the frame queued or taken. */
TEST_F(start, destroyed)
{
	__u8 cmd[VTPM_FRAME_MAX];
	struct vtpm_frame frame;
	int taken;

	for (taken = 0; taken < 2; taken++) {
		ASSERT_EQ(1, vt_readable(self->e.fd, VT_PATIENCE_MS));
		if (taken)
			ASSERT_LT(0, engine_fetch(self->e.fd, &frame, cmd));
		ASSERT_EQ(0, vt_target(self->control, VTPM_IOC_DESTROY,
				       self->dev.uuid));
		ASSERT_EQ(0, vt_event(self->control, self->dev.uuid,
				      VTPM_EVENT_REGISTERED, VT_PATIENCE_MS,
				      &self->event));
		EXPECT_EQ(ESHUTDOWN, self->event.error);
		ASSERT_EQ(0, vt_event(self->control, self->dev.uuid,
				      VTPM_EVENT_DESTROYED, VT_PATIENCE_MS,
				      NULL));
		EXPECT_EQ(POLLHUP, vt_poll(self->e.fd, 0));
		close(self->e.fd);
		EXPECT_EQ(0, vt_target(self->control, VTPM_IOC_RELEASE_NUMBER,
				       self->dev.uuid));
		EXPECT_EQ(0, platform_devices());
		memset(&self->dev, 0, sizeof(self->dev));
		ASSERT_EQ(0, vt_create(self->control, &self->dev));
		self->e.fd = self->dev.engine_fd;
	}
}

/* One registration that hangs keeps no other one waiting. */
TEST_F(start, others_go_on)
{
	struct vtpm_create other[8];
	long start = vt_now_ms();
	int i;

	memset(other, 0, sizeof(other));
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, vt_create(self->control, &other[i]));
	for (; i < 8; i++)
		ASSERT_EQ(0, vt_make(self->control, &other[i]));
	EXPECT_GE(VT_PATIENCE_MS, vt_now_ms() - start);
}

FIXTURE(pcrs) {
	int control;
};

/* moreData, capability, count; then hash, sizeofSelect, pcrSelect each. */
FIXTURE_VARIANT(pcrs) {
	size_t len;		/* of the whole, which may cut it off */
	__u32 capability;
	__u32 count;
	__u8 banks[16];
};

FIXTURE_VARIANT_ADD(pcrs, nothing) {
	.len = 0, .capability = TPM_CAP_PCRS, .count = 0,
};

FIXTURE_VARIANT_ADD(pcrs, no_count) {
	.len = 5, .capability = TPM_CAP_PCRS, .count = 0,
};

FIXTURE_VARIANT_ADD(pcrs, half_a_count) {
	.len = 8, .capability = TPM_CAP_PCRS, .count = 0,
};

FIXTURE_VARIANT_ADD(pcrs, count_without_banks) {
	.len = 9, .capability = TPM_CAP_PCRS, .count = 1,
};

FIXTURE_VARIANT_ADD(pcrs, count_max) {
	.len = 15, .capability = TPM_CAP_PCRS, .count = ~0U,
	.banks = { 0, 0xb, 3, 255, 255, 255 },
};

FIXTURE_VARIANT_ADD(pcrs, count_too_large) {
	.len = 15, .capability = TPM_CAP_PCRS, .count = 2,
	.banks = { 0, 0xb, 3, 255, 255, 255 },
};

FIXTURE_VARIANT_ADD(pcrs, count_too_small) {
	.len = 21, .capability = TPM_CAP_PCRS, .count = 1,
	.banks = { 0, 0xb, 3, 255, 255, 255, 0, 4, 3, 255, 255, 255 },
};

FIXTURE_VARIANT_ADD(pcrs, select_255) {
	.len = 15, .capability = TPM_CAP_PCRS, .count = 1,
	.banks = { 0, 0xb, 255, 255, 255, 255 },
};

FIXTURE_VARIANT_ADD(pcrs, select_past_end) {
	.len = 15, .capability = TPM_CAP_PCRS, .count = 1,
	.banks = { 0, 0xb, 4, 255, 255, 255 },
};

/* Consistent, but more than the three bytes of the core's structure. */
FIXTURE_VARIANT_ADD(pcrs, select_4) {
	.len = 16, .capability = TPM_CAP_PCRS, .count = 1,
	.banks = { 0, 0xb, 4, 255, 255, 255, 255 },
};

FIXTURE_VARIANT_ADD(pcrs, half_a_bank) {
	.len = 11, .capability = TPM_CAP_PCRS, .count = 1,
	.banks = { 0, 0xb },
};

FIXTURE_VARIANT_ADD(pcrs, other_capability) {
	.len = 15, .capability = TPM_CAP_PROPERTIES, .count = 1,
	.banks = { 0, 0xb, 3, 255, 255, 255 },
};

FIXTURE_SETUP(pcrs)
{
	self->control = vt_setup();
	ASSERT_GE(self->control, 0);
}

FIXTURE_TEARDOWN(pcrs)
{
	vt_wipe(self->control);
}

/* Refused; an engine that then tells the truth is believed. */
TEST_F(pcrs, refused)
{
	struct vtpm_create c = {};
	struct vtpm_event event;
	struct vtpm_info info;
	struct engine e;
	__u8 bytes[32] = {};

	put32(bytes + 1, variant->capability);
	put32(bytes + 5, variant->count);
	memcpy(bytes + 9, variant->banks, sizeof(variant->banks));
	ASSERT_EQ(0, vt_create(self->control, &c));
	engine_init(&e, c.engine_fd);
	misbehave(&e, ENGINE_BYTES, TPM_CC_GET_CAPABILITY, TPM_CAP_PCRS);
	e.bytes = bytes;
	e.len = variant->len;
	e.recover = true;
	ASSERT_EQ(0, vt_serve_registration(self->control, &e, &c, &event));
	EXPECT_EQ(EBADMSG, e.error);
	EXPECT_EQ(0, event.error);
	ASSERT_EQ(0, vt_info(self->control, c.uuid, &info));
	EXPECT_EQ(1, info.bad_replies);
	EXPECT_EQ(VTPM_STATE_LIVE, info.state);
}

TEST_HARNESS_MAIN
