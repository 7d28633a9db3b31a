/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One command between a client and an engine that the test plays by hand: the fixture
 * of clients.c and faults.c.
 */
#ifndef VTPM_SELFTEST_EXCHANGE_H
#define VTPM_SELFTEST_EXCHANGE_H

#include "kselftest_harness.h"

#include "vt.h"

FIXTURE(exchange) {
	int control;
	int engine;		/* O_NONBLOCK */
	int fd;			/* /dev/tpmN */
	struct vtpm_create dev;
	struct vtpm_info before;
	struct vtpm_info info;
	struct vtpm_event event;
	struct vtpm_frame frame;
	struct vtpm_frame other;
	struct vt_client client;
	struct vt_client next;
	struct engine e;
	__u8 buf[VTPM_FRAME_MAX];
	__u8 spare[VTPM_FRAME_MAX];
	__u8 reply[VTPM_FRAME_MAX];
};

FIXTURE_SETUP(exchange)
{
	self->control = vt_setup();
	ASSERT_GE(self->control, 0);
	self->dev.command_timeout_ms = 300;
	ASSERT_EQ(0, vt_make(self->control, &self->dev));
	self->engine = self->dev.engine_fd;
	self->fd = vt_node(&self->dev, false, 0);
	ASSERT_GE(self->fd, 0);
	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &self->before));
	vt_drain(self->control);
	engine_init(&self->e, self->engine);
}

FIXTURE_TEARDOWN(exchange)
{
	vt_wipe(self->control);
}

#define get_info() \
	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &self->info))

#define take_command() do { \
	ASSERT_EQ(1, vt_readable(self->engine, VT_PATIENCE_MS)); \
	ASSERT_LT(0, engine_fetch(self->engine, &self->frame, self->buf)); \
	ASSERT_EQ(VTPM_FRAME_COMMAND, self->frame.type); \
} while (0)

/* The device serves a client as if nothing had been. */
#define expect_works() do { \
	self->e.fd = self->engine; \
	self->e.kind = ENGINE_GOOD; \
	ASSERT_EQ(0, engine_start(&self->e)); \
	EXPECT_EQ(0, vt_getcap(self->fd)); \
	engine_stop(&self->e); \
} while (0)

static inline size_t answer(FIXTURE_DATA(exchange) *self)
{
	return engine_answer(self->buf, self->frame.len, self->reply);
}

#endif
