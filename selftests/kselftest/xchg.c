// SPDX-License-Identifier: GPL-2.0-only
/*
 * VTPM_IOC_XCHG, waits that block, and waits that a signal ends.
 */
#include <signal.h>
#include <sys/ioctl.h>
#include "kselftest_harness.h"

#include "vt.h"

FIXTURE(xchg) {
	int control;
	int engine;		/* O_NONBLOCK, until a test changes that */
	int fd;			/* /dev/tpmN */
	struct vtpm_create dev;
	struct vtpm_info before;
	struct vtpm_info info;
	struct vt_client client;
	struct vtpm_xchg x;
	__u8 buf[VTPM_FRAME_MAX];
	__u8 reply[VTPM_FRAME_MAX + 1];
};

FIXTURE_SETUP(xchg)
{
	self->control = vt_setup();
	ASSERT_GE(self->control, 0);
	ASSERT_EQ(0, vt_make(self->control, &self->dev));
	self->engine = self->dev.engine_fd;
	self->fd = vt_node(&self->dev, false, 0);
	ASSERT_GE(self->fd, 0);
	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &self->before));
}

FIXTURE_TEARDOWN(xchg)
{
	vt_wipe(self->control);
}

/* One XCHG; @len 0: fetch only. */
static int xchg(FIXTURE_DATA(xchg) *self, __u32 flags, __u64 seq, size_t len)
{
	memset(&self->x, 0, sizeof(self->x));
	memset(&self->x.frame, 0xa5, sizeof(self->x.frame));
	self->x.replied = 7;
	self->x.size = sizeof(self->x);
	self->x.flags = flags;
	self->x.reply = (unsigned long)self->reply;
	self->x.reply_seq = seq;
	self->x.reply_len = len;
	self->x.buf = (unsigned long)self->buf;
	self->x.buf_len = sizeof(self->buf);
	return vt_ioctl(self->engine, VTPM_IOC_XCHG, &self->x);
}

/* The good answer to what xchg() has fetched. */
static size_t answer(FIXTURE_DATA(xchg) *self)
{
	return engine_answer(self->buf, self->x.frame.len, self->reply);
}

TEST_F(xchg, exchange)
{
	__u64 seq;
	size_t len;

	EXPECT_EQ(-EAGAIN, xchg(self, 0, 0, 0));
	EXPECT_EQ(0, self->x.replied);
	EXPECT_EQ(-EAGAIN, xchg(self, VTPM_XCHG_NOWAIT, 0, 0));

	ASSERT_EQ(0, vt_client_echo(&self->client, self->fd, 5));
	ASSERT_EQ(1, vt_readable(self->engine, VT_PATIENCE_MS));
	ASSERT_EQ(0, xchg(self, 0, 0, 0));
	EXPECT_EQ(0, self->x.replied);
	EXPECT_EQ(VTPM_FRAME_COMMAND, self->x.frame.type);
	EXPECT_EQ(self->before.sequence + 1, self->x.frame.seq);
	EXPECT_EQ(self->client.len, self->x.frame.len);
	EXPECT_EQ(0, self->x.frame.flags);
	EXPECT_EQ(0, memcmp(self->buf, self->client.cmd, self->client.len));

	/* The reply is taken although there is no next frame. */
	seq = self->x.frame.seq;
	len = answer(self);
	EXPECT_EQ(-EAGAIN, xchg(self, 0, seq, len));
	EXPECT_EQ(1, self->x.replied);
	EXPECT_EQ(0, self->x.frame.type);
	ASSERT_TRUE(vt_client_done(&self->client, VT_PATIENCE_MS));
	EXPECT_TRUE(vt_client_echoed(&self->client));

	/* Taken is taken. */
	EXPECT_EQ(-ESTALE, xchg(self, 0, seq, len));
	EXPECT_EQ(0, self->x.replied);
	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &self->info));
	EXPECT_EQ(self->before.commands + 1, self->info.commands);
	EXPECT_EQ(1, self->info.stale_replies);
	EXPECT_EQ(0, self->info.redeliveries);
}

TEST_F(xchg, arguments)
{
	struct vtpm_xchg x = {
		.size = sizeof(x), .flags = VTPM_XCHG_NOWAIT,
		.buf = (unsigned long)self->buf,
	};

	x.buf_len = VTPM_FRAME_MAX - 1;
	EXPECT_EQ(-EINVAL, vt_ioctl(self->engine, VTPM_IOC_XCHG, &x));
	x.buf_len = 0;
	EXPECT_EQ(-EINVAL, vt_ioctl(self->engine, VTPM_IOC_XCHG, &x));
	x.buf_len = ~0U;
	EXPECT_EQ(-EAGAIN, vt_ioctl(self->engine, VTPM_IOC_XCHG, &x));
	x.reply = (unsigned long)self->reply;
	x.reply_len = VTPM_FRAME_MAX + 1;
	EXPECT_EQ(-EMSGSIZE, vt_ioctl(self->engine, VTPM_IOC_XCHG, &x));
	x.reply_len = ~0U;
	EXPECT_EQ(-EMSGSIZE, vt_ioctl(self->engine, VTPM_IOC_XCHG, &x));
}

TEST_F(xchg, bad_reply)
{
	size_t len, i;
	__u64 seq;

	ASSERT_EQ(0, vt_client_echo(&self->client, self->fd, 5));
	ASSERT_EQ(1, vt_readable(self->engine, VT_PATIENCE_MS));
	ASSERT_EQ(0, xchg(self, 0, 0, 0));
	seq = self->x.frame.seq;
	len = answer(self);
	for (i = 1; i < len; i++) {
		EXPECT_EQ(-EBADMSG, xchg(self, 0, seq, i));
		EXPECT_EQ(0, self->x.replied);
	}
	EXPECT_EQ(-EBADMSG, xchg(self, 0, seq, len + 1));
	EXPECT_EQ(-EMSGSIZE, xchg(self, 0, seq, VTPM_FRAME_MAX + 1));
	EXPECT_EQ(-ESTALE, xchg(self, 0, seq + 1, len));
	EXPECT_EQ(-EAGAIN, xchg(self, 0, seq, len));
	EXPECT_EQ(1, self->x.replied);
	ASSERT_TRUE(vt_client_done(&self->client, VT_PATIENCE_MS));
	EXPECT_TRUE(vt_client_echoed(&self->client));
	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &self->info));
	EXPECT_EQ(len, self->info.bad_replies);
	EXPECT_EQ(1, self->info.stale_replies);
}

/* Addresses that fault cost neither the reply nor the frame. */
TEST_F(xchg, faults)
{
	__u8 *edge = vt_no_access();
	struct vt_client next;
	struct vtpm_xchg x;
	size_t len;
	int fd;

	ASSERT_EQ(0, vt_client_echo(&self->client, self->fd, 5));
	ASSERT_EQ(1, vt_readable(self->engine, VT_PATIENCE_MS));
	x = (struct vtpm_xchg){
		.size = sizeof(x), .buf = (unsigned long)edge - 9,
		.buf_len = VTPM_FRAME_MAX, .replied = 7,
	};
	EXPECT_EQ(-EFAULT, vt_ioctl(self->engine, VTPM_IOC_XCHG, &x));
	EXPECT_EQ(0, x.replied);
	EXPECT_EQ(0, x.frame.type);
	EXPECT_EQ(POLLIN, vt_poll(self->engine, 0));
	ASSERT_EQ(0, xchg(self, 0, 0, 0));
	EXPECT_EQ(0, self->x.frame.flags);

	/* A reply at a bad address: still owed. */
	len = answer(self);
	x.reply = (unsigned long)edge - 9;
	x.reply_seq = self->x.frame.seq;
	x.reply_len = len;
	EXPECT_EQ(-EFAULT, vt_ioctl(self->engine, VTPM_IOC_XCHG, &x));
	EXPECT_EQ(0, x.replied);
	EXPECT_EQ(POLLOUT, vt_poll(self->engine, 0));

	/* A good reply, and no place for the next frame: replied, frame kept. */
	fd = vt_node(&self->dev, true, 0);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, vt_client_getcap(&next, fd));
	EXPECT_TRUE(vt_client_waits(&next));
	ASSERT_EQ(0, vt_nonblock(self->engine, false));
	x.reply = (unsigned long)self->reply;
	EXPECT_EQ(-EFAULT, vt_ioctl(self->engine, VTPM_IOC_XCHG, &x));
	EXPECT_EQ(1, x.replied);
	ASSERT_TRUE(vt_client_done(&self->client, VT_PATIENCE_MS));
	EXPECT_TRUE(vt_client_echoed(&self->client));
	ASSERT_EQ(0, xchg(self, 0, 0, 0));
	EXPECT_EQ(self->before.sequence + 2, self->x.frame.seq);
	EXPECT_EQ(0, self->x.frame.flags);
	len = answer(self);
	EXPECT_EQ(-EAGAIN, xchg(self, VTPM_XCHG_NOWAIT, self->x.frame.seq, len));
	EXPECT_EQ(1, self->x.replied);
	ASSERT_TRUE(vt_client_done(&next, VT_PATIENCE_MS));
	EXPECT_LT(TPM_HEADER, next.rc);
	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &self->info));
	EXPECT_EQ(0, self->info.bad_replies);
	EXPECT_EQ(0, self->info.stale_replies);
	EXPECT_EQ(0, self->info.redeliveries);
}

/* An XCHG or a read() that blocks, in a thread. */
struct waiter {
	bool by_read;
	__u64 seq;
	size_t len;
	int rc;
	pthread_t thread;
	FIXTURE_DATA(xchg) *self;
};

static void *waiter_thread(void *arg)
{
	struct waiter *w = arg;
	FIXTURE_DATA(xchg) *self = w->self;

	if (w->by_read)
		w->rc = engine_fetch(self->engine, &self->x.frame, self->buf);
	else
		w->rc = xchg(self, 0, w->seq, w->len);
	return NULL;
}

static bool waiter_done(struct waiter *w, int ms)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += ms % 1000 * 1000000L;
	t.tv_sec += t.tv_nsec / 1000000000L;
	t.tv_nsec %= 1000000000L;
	return !pthread_timedjoin_np(w->thread, NULL, &t);
}

#define start_waiter(w, ...) do { \
	*(w) = (struct waiter){ .self = self, __VA_ARGS__ }; \
	ASSERT_EQ(0, vt_nonblock(self->engine, false)); \
	ASSERT_EQ(0, pthread_create(&(w)->thread, NULL, waiter_thread, w)); \
	EXPECT_FALSE(waiter_done(w, VT_QUIET_MS)); \
} while (0)

TEST_F(xchg, blocks)
{
	struct waiter w;
	int by_read;

	for (by_read = 0; by_read < 2; by_read++) {
		start_waiter(&w, .by_read = by_read);
		ASSERT_EQ(0, vt_client_echo(&self->client, self->fd, 5));
		ASSERT_TRUE(waiter_done(&w, VT_PATIENCE_MS));
		EXPECT_EQ(by_read ? (int)self->client.len : 0, w.rc);
		EXPECT_EQ(VTPM_FRAME_COMMAND, self->x.frame.type);
		EXPECT_EQ(-EAGAIN, xchg(self, VTPM_XCHG_NOWAIT,
					self->x.frame.seq, answer(self)));
		EXPECT_EQ(1, self->x.replied);
		ASSERT_TRUE(vt_client_done(&self->client, VT_PATIENCE_MS));
		EXPECT_TRUE(vt_client_echoed(&self->client));
	}
}

TEST_F(xchg, wake_ends_wait)
{
	struct waiter w;
	int by_read;

	for (by_read = 0; by_read < 2; by_read++) {
		start_waiter(&w, .by_read = by_read);
		EXPECT_EQ(0, vt_target(self->control, VTPM_IOC_WAKE,
				       self->dev.uuid));
		ASSERT_TRUE(waiter_done(&w, VT_PATIENCE_MS));
		EXPECT_EQ(0, w.rc);
		EXPECT_EQ(VTPM_FRAME_WAKE, self->x.frame.type);
		EXPECT_EQ(0, self->x.frame.len);
		EXPECT_EQ(-EAGAIN, xchg(self, VTPM_XCHG_NOWAIT, 0, 0));
	}
}

/* What ends a wait for good: a newer engine, a power cycle, the end. */
TEST_F(xchg, fence_ends_wait)
{
	struct vtpm_power_cycle p = { .size = sizeof(p) };
	struct waiter w;
	int by_read;

	memcpy(p.uuid, self->dev.uuid, sizeof(p.uuid));
	for (by_read = 0; by_read < 2; by_read++) {
		int first = self->engine, next;

		start_waiter(&w, .by_read = by_read);
		next = vt_attach(self->control, &self->dev, VTPM_ATTACH_REPLACE,
				 NULL);
		ASSERT_GE(next, 0);
		ASSERT_TRUE(waiter_done(&w, VT_PATIENCE_MS));
		EXPECT_EQ(-EPIPE, w.rc);
		self->engine = next;
		close(first);

		start_waiter(&w, .by_read = by_read);
		ASSERT_EQ(0, vt_ioctl(self->control, VTPM_IOC_POWER_CYCLE, &p));
		ASSERT_TRUE(waiter_done(&w, VT_PATIENCE_MS));
		EXPECT_EQ(-EPIPE, w.rc);
		memcpy(self->dev.power_id, p.power_id, sizeof(p.power_id));
		self->engine = vt_attach(self->control, &self->dev, 0, NULL);
		ASSERT_GE(self->engine, 0);
	}
	start_waiter(&w, .by_read = false);
	ASSERT_EQ(0, vt_target(self->control, VTPM_IOC_DESTROY, self->dev.uuid));
	ASSERT_TRUE(waiter_done(&w, VT_PATIENCE_MS));
	EXPECT_EQ(-ESHUTDOWN, w.rc);
	EXPECT_EQ(-ESHUTDOWN, xchg(self, 0, 0, 0));
	EXPECT_EQ(-ESHUTDOWN, xchg(self, 0, 1, 10));
	EXPECT_EQ(0, self->x.replied);
}

static void on_signal(int sig)
{
	(void)sig;
}

/* A signal ends the wait; the reply was taken all the same. */
TEST_F(xchg, signal)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct waiter w;
	int restart;

	for (restart = 0; restart < 2; restart++) {
		action.sa_flags = restart ? SA_RESTART : 0;
		ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
		ASSERT_EQ(0, vt_client_echo(&self->client, self->fd, 5));
		ASSERT_EQ(1, vt_readable(self->engine, VT_PATIENCE_MS));
		ASSERT_EQ(0, xchg(self, 0, 0, 0));
		start_waiter(&w, .seq = self->x.frame.seq, .len = answer(self));
		ASSERT_TRUE(vt_client_done(&self->client, VT_PATIENCE_MS));
		EXPECT_TRUE(vt_client_echoed(&self->client));
		ASSERT_EQ(0, pthread_kill(w.thread, SIGUSR1));
		ASSERT_TRUE(waiter_done(&w, VT_PATIENCE_MS));
		EXPECT_EQ(-EINTR, w.rc);
		EXPECT_EQ(1, self->x.replied);
		EXPECT_EQ(0, self->x.frame.type);
	}
	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &self->info));
	EXPECT_EQ(0, self->info.stale_replies);

	action.sa_flags = 0;
	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	start_waiter(&w, .by_read = true);
	ASSERT_EQ(0, pthread_kill(w.thread, SIGUSR1));
	ASSERT_TRUE(waiter_done(&w, VT_PATIENCE_MS));
	EXPECT_EQ(-EINTR, w.rc);
}

/* Two threads of one engine wait: each frame comes to one of them. */
TEST_F(xchg, two_waiters)
{
	FIXTURE_DATA(xchg) other;
	struct waiter w, v;
	bool first;

	start_waiter(&w, .by_read = true);
	other = *self;
	v = (struct waiter){ .self = &other, .by_read = false };
	ASSERT_EQ(0, pthread_create(&v.thread, NULL, waiter_thread, &v));
	EXPECT_FALSE(waiter_done(&v, VT_QUIET_MS));

	ASSERT_EQ(0, vt_client_echo(&self->client, self->fd, 5));
	first = waiter_done(&w, 1000);
	if (first) {
		EXPECT_FALSE(waiter_done(&v, VT_QUIET_MS));
	} else {
		ASSERT_TRUE(waiter_done(&v, VT_PATIENCE_MS));
		self->x = other.x;
		memcpy(self->buf, other.buf, sizeof(self->buf));
	}
	EXPECT_EQ(VTPM_FRAME_COMMAND, self->x.frame.type);
	EXPECT_EQ(0, engine_reply(self->engine, self->x.frame.seq, self->reply,
				  answer(self)));
	ASSERT_TRUE(vt_client_done(&self->client, VT_PATIENCE_MS));
	EXPECT_TRUE(vt_client_echoed(&self->client));
	ASSERT_EQ(0, vt_target(self->control, VTPM_IOC_DESTROY, self->dev.uuid));
	ASSERT_TRUE(waiter_done(first ? &v : &w, VT_PATIENCE_MS));
	EXPECT_EQ(-ESHUTDOWN, first ? v.rc : w.rc);
}

TEST_HARNESS_MAIN
