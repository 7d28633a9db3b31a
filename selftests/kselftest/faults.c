// SPDX-License-Identifier: GPL-2.0-only
/*
 * Engines that misbehave, are late or die.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "exchange.h"

/* The engine is too late; what it says then must not reach the next client. */
TEST_F(exchange, late_reply)
{
	ASSERT_EQ(0, vt_client_getcap(&self->client, self->fd));
	take_command();
	ASSERT_TRUE(vt_client_done(&self->client, VT_PATIENCE_MS));
	EXPECT_EQ(-ETIME, self->client.rc);
	/* The core's own duration is longer than our 300 ms, and is kept. */
	EXPECT_LE(GETCAP_DURATION_MS - 10, self->client.ms);
	get_info();
	EXPECT_EQ(1, self->info.timeouts);
	EXPECT_EQ(self->before.commands, self->info.commands);
	EXPECT_EQ(POLLIN | POLLOUT, vt_poll(self->engine, 0));

	/* The next one waits until the engine is through with the first. */
	ASSERT_EQ(0, vt_client_echo(&self->next, self->fd, 0xbeef));
	EXPECT_FALSE(vt_client_done(&self->next, 50));
	ASSERT_EQ(0, engine_fetch(self->engine, &self->other, self->spare));
	EXPECT_EQ(VTPM_FRAME_CANCEL, self->other.type);
	EXPECT_EQ(self->frame.seq, self->other.seq);
	EXPECT_EQ(-EAGAIN, engine_fetch(self->engine, &self->other,
					self->spare));
	EXPECT_EQ(POLLOUT, vt_poll(self->engine, 0));
	EXPECT_EQ(0, engine_reply(self->engine, self->frame.seq, self->reply,
				  answer(self)));

	take_command();
	EXPECT_EQ(self->before.sequence + 2, self->frame.seq);
	EXPECT_EQ(0, self->frame.flags);
	EXPECT_EQ(0, engine_reply(self->engine, self->frame.seq, self->reply,
				  answer(self)));
	ASSERT_TRUE(vt_client_done(&self->next, VT_PATIENCE_MS));
	EXPECT_TRUE(vt_client_echoed(&self->next));
	get_info();
	EXPECT_EQ(1, self->info.timeouts);
	EXPECT_EQ(0, self->info.stale_replies);
	EXPECT_EQ(self->before.commands + 1, self->info.commands);
}

/* It never answers: the next command is not sent, and fails in bounded time. */
TEST_F(exchange, no_reply_at_all)
{
	ASSERT_EQ(0, vt_client_getcap(&self->client, self->fd));
	take_command();
	ASSERT_TRUE(vt_client_done(&self->client, VT_PATIENCE_MS));
	EXPECT_EQ(-ETIME, self->client.rc);
	ASSERT_EQ(0, vt_client_getcap(&self->next, self->fd));
	ASSERT_TRUE(vt_client_done(&self->next, VT_PATIENCE_MS));
	EXPECT_GT(0, self->next.rc);
	EXPECT_GE(2000, self->next.ms);
	get_info();
	EXPECT_EQ(2, self->info.timeouts);
	EXPECT_EQ(self->before.sequence + 1, self->info.sequence);

	/* Another engine does not inherit the debt. */
	self->engine = vt_attach(self->control, &self->dev, VTPM_ATTACH_REPLACE,
				 NULL);
	ASSERT_GE(self->engine, 0);
	EXPECT_EQ(0, vt_readable(self->engine, VT_QUIET_MS));
	expect_works();
}

/* Not even fetched in time: nothing is owed, nothing is cancelled. */
TEST_F(exchange, never_fetched)
{
	ASSERT_EQ(0, vt_client_getcap(&self->client, self->fd));
	ASSERT_TRUE(vt_client_done(&self->client, VT_PATIENCE_MS));
	EXPECT_EQ(-ETIME, self->client.rc);
	EXPECT_EQ(0, vt_poll(self->engine, 0));
	get_info();
	EXPECT_EQ(1, self->info.timeouts);
	expect_works();
}

FIXTURE(reply) {
	int control;
};

FIXTURE_VARIANT(reply) {
	enum engine_kind kind;
	int error;
};

FIXTURE_VARIANT_ADD(reply, empty) { .kind = ENGINE_EMPTY, .error = EBADMSG };
FIXTURE_VARIANT_ADD(reply, short) { .kind = ENGINE_SHORT, .error = EBADMSG };
FIXTURE_VARIANT_ADD(reply, long) { .kind = ENGINE_LONG, .error = EMSGSIZE };
FIXTURE_VARIANT_ADD(reply, wrong_length) {
	.kind = ENGINE_WRONG_LENGTH, .error = EBADMSG,
};
FIXTURE_VARIANT_ADD(reply, garbage) {
	.kind = ENGINE_GARBAGE, .error = EBADMSG,
};

FIXTURE_SETUP(reply)
{
	self->control = vt_setup();
	ASSERT_GE(self->control, 0);
}

FIXTURE_TEARDOWN(reply)
{
	vt_wipe(self->control);
}

/* Refused and then put right, with each command from the first one on. */
TEST_F(reply, put_right)
{
	struct vtpm_create c = {};
	struct vtpm_event event;
	struct vtpm_info info;
	struct engine e;
	int fd;

	ASSERT_EQ(0, vt_create(self->control, &c));
	engine_init(&e, c.engine_fd);
	e.kind = variant->kind;
	e.recover = true;
	ASSERT_EQ(0, vt_serve_registration(self->control, &e, &c, &event));
	EXPECT_EQ(0, event.error);
	EXPECT_EQ(variant->error, e.error);
	EXPECT_EQ(e.frames, e.faults);

	ASSERT_GE(fd = vt_node(&c, false, 0), 0);
	ASSERT_EQ(0, vt_nonblock(e.fd, true));
	ASSERT_EQ(0, engine_start(&e));
	EXPECT_EQ(0, vt_getcap(fd));
	engine_stop(&e);
	EXPECT_EQ(variant->error, e.error);
	ASSERT_EQ(0, vt_info(self->control, c.uuid, &info));
	EXPECT_EQ(e.frames, info.commands);
	/* Too long is refused before it is a reply. */
	EXPECT_EQ(variant->error == EBADMSG ? e.frames : 0, info.bad_replies);
}

/* Refused, and that was that: the client is not left alone for ever. */
TEST_F(reply, not_put_right)
{
	struct vtpm_create c = { .command_timeout_ms = 100 };
	struct vt_client client;
	struct engine e;
	int fd;

	ASSERT_EQ(0, vt_make(self->control, &c));
	ASSERT_GE(fd = vt_node(&c, false, 0), 0);
	engine_init(&e, c.engine_fd);
	e.kind = variant->kind;
	ASSERT_EQ(0, engine_start(&e));
	ASSERT_EQ(0, vt_client_getcap(&client, fd));
	ASSERT_TRUE(vt_client_done(&client, VT_PATIENCE_MS));
	EXPECT_EQ(-ETIME, client.rc);
	engine_stop(&e);
	EXPECT_EQ(variant->error, e.error);
}

/* An engine that is killed is an engine that closes. */
TEST_F(exchange, engine_killed)
{
	pid_t pid = fork();

	ASSERT_GE(pid, 0);
	if (!pid) {
		close(self->fd);
		vt_readable(self->engine, VT_PATIENCE_MS);
		engine_fetch(self->engine, &self->frame, self->buf);
		kill(getpid(), SIGKILL);
	}
	close(self->engine);
	ASSERT_EQ(0, vt_client_echo(&self->client, self->fd, 1));
	EXPECT_EQ(1000 + SIGKILL, vt_reap(pid, VT_PATIENCE_MS));
	ASSERT_EQ(0, vt_event(self->control, self->dev.uuid,
			      VTPM_EVENT_ORPHANED, VT_PATIENCE_MS, NULL));
	self->engine = vt_attach(self->control, &self->dev, 0, NULL);
	ASSERT_GE(self->engine, 0);
	take_command();
	EXPECT_EQ(VTPM_FRAME_F_REDELIVERED, self->frame.flags);
	EXPECT_EQ(0, engine_reply(self->engine, self->frame.seq, self->reply,
				  answer(self)));
	ASSERT_TRUE(vt_client_done(&self->client, VT_PATIENCE_MS));
	EXPECT_TRUE(vt_client_echoed(&self->client));
}

TEST_HARNESS_MAIN
