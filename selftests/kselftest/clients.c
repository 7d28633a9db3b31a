// SPDX-License-Identifier: GPL-2.0-only
/*
 * Clients whose command is aborted, that are killed, do not block, or share a file.
 */
#include <signal.h>

#include "exchange.h"

/* ABORT: nothing in flight, parked, queued, taken. */
TEST_F(exchange, abort_idle)
{
	EXPECT_EQ(-ENODATA, vt_target(self->control, VTPM_IOC_ABORT,
				      self->dev.uuid));
	expect_works();
	EXPECT_EQ(-ENODATA, vt_target(self->control, VTPM_IOC_ABORT,
				      self->dev.uuid));
}

#define expect_aborted() do { \
	EXPECT_EQ(0, vt_target(self->control, VTPM_IOC_ABORT, \
			       self->dev.uuid)); \
	ASSERT_TRUE(vt_client_done(&self->client, VT_PATIENCE_MS)); \
	EXPECT_EQ(-EPIPE, self->client.rc); \
	get_info(); \
	EXPECT_EQ(1, self->info.aborts); \
	EXPECT_EQ(0, self->info.timeouts); \
	EXPECT_EQ(0, self->info.conditions & VTPM_COND_WANTED); \
	EXPECT_EQ(-ENODATA, vt_target(self->control, VTPM_IOC_ABORT, \
				      self->dev.uuid)); \
} while (0)

TEST_F(exchange, abort_parked)
{
	close(self->engine);
	ASSERT_EQ(0, vt_client_echo(&self->client, self->fd, 1));
	EXPECT_TRUE(vt_client_waits(&self->client));
	expect_aborted();
	self->engine = vt_attach(self->control, &self->dev, 0, NULL);
	ASSERT_GE(self->engine, 0);
	EXPECT_EQ(0, vt_readable(self->engine, VT_QUIET_MS));
	expect_works();
}

TEST_F(exchange, abort_queued)
{
	ASSERT_EQ(0, vt_client_echo(&self->client, self->fd, 1));
	ASSERT_EQ(1, vt_readable(self->engine, VT_PATIENCE_MS));
	expect_aborted();
	/* Never taken: no CANCEL, nothing is owed. */
	EXPECT_EQ(0, vt_poll(self->engine, 0));
	expect_works();
}

TEST_F(exchange, abort_taken)
{
	ASSERT_EQ(0, vt_client_echo(&self->client, self->fd, 1));
	take_command();
	expect_aborted();
	/* The reply is owed. */
	EXPECT_EQ(VTPM_COND_BUSY, self->info.conditions & VTPM_COND_BUSY);
	EXPECT_EQ(POLLIN | POLLOUT, vt_poll(self->engine, 0));
	ASSERT_EQ(0, engine_fetch(self->engine, &self->other, self->spare));
	EXPECT_EQ(VTPM_FRAME_CANCEL, self->other.type);
	EXPECT_EQ(self->frame.seq, self->other.seq);
	EXPECT_EQ(0, self->other.len);
	/* Told once. */
	EXPECT_EQ(-EAGAIN, engine_fetch(self->engine, &self->other,
					self->spare));
	EXPECT_EQ(0, engine_reply(self->engine, self->frame.seq, self->reply,
				  answer(self)));
	get_info();
	EXPECT_EQ(0, self->info.conditions & VTPM_COND_BUSY);
	EXPECT_EQ(-ESTALE, engine_reply(self->engine, self->frame.seq,
					self->reply, answer(self)));
	expect_works();
}

/* Answered before it looks: there is nothing left to cancel. */
TEST_F(exchange, abort_taken_and_answered)
{
	ASSERT_EQ(0, vt_client_echo(&self->client, self->fd, 1));
	take_command();
	expect_aborted();
	EXPECT_EQ(0, engine_reply(self->engine, self->frame.seq, self->reply,
				  answer(self)));
	EXPECT_EQ(0, vt_poll(self->engine, 0));
	expect_works();
}

/* The engine dies after an ABORT: its frame must not come back. */
TEST_F(exchange, abort_taken_and_dead)
{
	ASSERT_EQ(0, vt_client_echo(&self->client, self->fd, 1));
	take_command();
	expect_aborted();
	close(self->engine);
	self->engine = vt_attach(self->control, &self->dev, 0, NULL);
	ASSERT_GE(self->engine, 0);
	EXPECT_EQ(0, vt_readable(self->engine, VT_QUIET_MS));
	expect_works();
}

/* SIGKILL while parked, queued, taken. */
TEST_F(exchange, kill_parked)
{
	pid_t pid;

	close(self->engine);
	ASSERT_LT(0, pid = vt_fork_client(self->fd, 1));
	EXPECT_EQ(-ETIMEDOUT, vt_reap(pid, VT_QUIET_MS));
	kill(pid, SIGKILL);
	EXPECT_EQ(1000 + SIGKILL, vt_reap(pid, VT_PATIENCE_MS));
	get_info();
	EXPECT_EQ(1, self->info.aborts);
	EXPECT_EQ(0, self->info.conditions & VTPM_COND_WANTED);
	self->engine = vt_attach(self->control, &self->dev, 0, NULL);
	ASSERT_GE(self->engine, 0);
	EXPECT_EQ(0, vt_readable(self->engine, VT_QUIET_MS));
	expect_works();
}

TEST_F(exchange, kill_queued)
{
	pid_t pid;

	ASSERT_LT(0, pid = vt_fork_client(self->fd, 1));
	ASSERT_EQ(1, vt_readable(self->engine, VT_PATIENCE_MS));
	kill(pid, SIGKILL);
	EXPECT_EQ(1000 + SIGKILL, vt_reap(pid, VT_PATIENCE_MS));
	EXPECT_EQ(0, vt_poll(self->engine, 0));
	get_info();
	EXPECT_EQ(1, self->info.aborts);
	expect_works();
}

/* The command may have had its effect: its reply is waited for. */
TEST_F(exchange, kill_taken)
{
	pid_t pid;

	ASSERT_LT(0, pid = vt_fork_client(self->fd, 1));
	take_command();
	kill(pid, SIGKILL);
	EXPECT_EQ(-ETIMEDOUT, vt_reap(pid, VT_QUIET_MS));
	EXPECT_EQ(POLLOUT, vt_poll(self->engine, 0));
	EXPECT_EQ(0, engine_reply(self->engine, self->frame.seq, self->reply,
				  answer(self)));
	EXPECT_EQ(1000 + SIGKILL, vt_reap(pid, VT_PATIENCE_MS));
	get_info();
	EXPECT_EQ(0, self->info.aborts);
	EXPECT_EQ(self->before.commands + 1, self->info.commands);
	/* The open file is shared, and so is the reply. */
	EXPECT_EQ(self->frame.len, read(self->fd, self->buf, sizeof(self->buf)));
	expect_works();
}

TEST_F(exchange, kill_taken_and_abort)
{
	pid_t pid;

	ASSERT_LT(0, pid = vt_fork_client(self->fd, 1));
	take_command();
	kill(pid, SIGKILL);
	EXPECT_EQ(0, vt_target(self->control, VTPM_IOC_ABORT, self->dev.uuid));
	EXPECT_EQ(1000 + SIGKILL, vt_reap(pid, VT_PATIENCE_MS));
	EXPECT_EQ(0, engine_reply(self->engine, self->frame.seq, self->reply,
				  answer(self)));
	expect_works();
}

/* Clients that do not block. */
TEST_F(exchange, client_nonblock)
{
	__u8 cmd[64];
	size_t len = vt_cmd_echo(cmd, 0x77, 16);

	ASSERT_EQ(0, vt_nonblock(self->fd, true));
	ASSERT_EQ(len, write(self->fd, cmd, len));
	/* To poll now would wait for the lock that the core holds meanwhile. */
	take_command();
	EXPECT_EQ(0, engine_reply(self->engine, self->frame.seq, self->reply,
				  answer(self)));
	ASSERT_EQ(1, vt_readable(self->fd, VT_PATIENCE_MS));
	EXPECT_EQ(len, read(self->fd, self->buf, sizeof(self->buf)));
	EXPECT_EQ(0x77, get32(self->buf + TPM_HEADER));

	/* One that fails tells so when it is read. */
	ASSERT_EQ(len, write(self->fd, cmd, len));
	take_command();
	ASSERT_EQ(0, vt_target(self->control, VTPM_IOC_ABORT, self->dev.uuid));
	ASSERT_EQ(1, vt_readable(self->fd, VT_PATIENCE_MS));
	EXPECT_EQ(-1, read(self->fd, self->buf, sizeof(self->buf)));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(0, engine_reply(self->engine, self->frame.seq, self->reply,
				  answer(self)));
}

static void *closer(void *arg)
{
	close(*(int *)arg);
	return NULL;
}

/* Its close() waits for the command: only ABORT gets it out. */
TEST_F(exchange, client_nonblock_closes)
{
	__u8 cmd[64];
	size_t len = vt_cmd_echo(cmd, 0x77, 16);
	struct vt_client t;
	int fd = self->fd;

	close(self->engine);
	ASSERT_EQ(0, vt_nonblock(fd, true));
	ASSERT_EQ(len, write(fd, cmd, len));
	ASSERT_EQ(0, vt_event(self->control, self->dev.uuid, VTPM_EVENT_WANTED,
			      VT_PATIENCE_MS, NULL));
	ASSERT_EQ(0, pthread_create(&t.thread, NULL, closer, &fd));
	EXPECT_TRUE(vt_client_waits(&t));
	EXPECT_EQ(0, vt_target(self->control, VTPM_IOC_ABORT, self->dev.uuid));
	ASSERT_TRUE(vt_client_done(&t, VT_PATIENCE_MS));
	self->engine = vt_attach(self->control, &self->dev, 0, NULL);
	self->fd = vt_node(&self->dev, false, 0);
	ASSERT_GE(self->fd, 0);
	expect_works();
}

/* One open file, two processes: one asks, the other gets the answer. */
TEST_F(exchange, client_fork)
{
	__u8 cmd[64];
	size_t len = vt_cmd_echo(cmd, 0x99, 16);
	pid_t pid;

	ASSERT_EQ(0, engine_start(&self->e));
	ASSERT_GE(pid = fork(), 0);
	if (!pid) {
		/* Not the engine's last copy. */
		close(self->engine);
		_exit(write(self->fd, cmd, len) != (ssize_t)len);
	}
	EXPECT_EQ(0, vt_reap(pid, VT_PATIENCE_MS));
	EXPECT_EQ(len, read(self->fd, self->buf, sizeof(self->buf)));
	EXPECT_EQ(0x99, get32(self->buf + TPM_HEADER));

	/* Killed with the answer unread: the other one goes on. */
	ASSERT_GE(pid = fork(), 0);
	if (!pid) {
		if (write(self->fd, cmd, len) == (ssize_t)len)
			kill(getpid(), SIGKILL);
		_exit(1);
	}
	EXPECT_EQ(1000 + SIGKILL, vt_reap(pid, VT_PATIENCE_MS));
	EXPECT_EQ(-1, write(self->fd, cmd, len));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(len, read(self->fd, self->buf, sizeof(self->buf)));
	EXPECT_EQ(0, vt_getcap(self->fd));
	engine_stop(&self->e);
}

TEST_HARNESS_MAIN
