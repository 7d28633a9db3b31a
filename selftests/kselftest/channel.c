// SPDX-License-Identifier: GPL-2.0-only
/*
 * The engine fd: read(), write(), poll() and VTPM_IOC_XCHG, and who may use them.
 */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "kselftest_harness.h"

#include "vt.h"

#define HEADER	sizeof(struct vtpm_frame)

FIXTURE(channel) {
	int control;
	int engine;		/* O_NONBLOCK */
	int fd;			/* /dev/tpmN */
	struct vtpm_create dev;
	struct vtpm_info before;
	struct vtpm_info info;
	struct vt_client client;
	struct vtpm_frame frame;
	__u8 buf[VTPM_FRAME_MAX + 64];
	__u8 reply[VTPM_FRAME_MAX + 64];
	size_t len;
};

FIXTURE_SETUP(channel)
{
	self->control = vt_setup();
	ASSERT_GE(self->control, 0);
	ASSERT_EQ(0, vt_make(self->control, &self->dev));
	self->engine = self->dev.engine_fd;
	self->fd = vt_node(&self->dev, false, 0);
	ASSERT_GE(self->fd, 0);
	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &self->before));
}

FIXTURE_TEARDOWN(channel)
{
	vt_wipe(self->control);
}

/* A client whose command waits for the engine to fetch it. */
#define queue_command() do { \
	ASSERT_EQ(0, vt_client_echo(&self->client, self->fd, 0xfeed)); \
	ASSERT_EQ(1, vt_readable(self->engine, VT_PATIENCE_MS)); \
} while (0)

/* The same, fetched: self->frame, self->buf; its answer: self->reply, self->len. */
#define take_command() do { \
	queue_command(); \
	ASSERT_EQ((int)self->client.len, \
		  engine_fetch(self->engine, &self->frame, self->buf)); \
	self->len = engine_answer(self->buf, self->frame.len, self->reply); \
} while (0)

/* The client has its answer, and the counters say that nothing else happened. */
#define expect_answered() do { \
	ASSERT_TRUE(vt_client_done(&self->client, VT_PATIENCE_MS)); \
	EXPECT_TRUE(vt_client_echoed(&self->client)); \
	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &self->info)); \
	EXPECT_EQ(self->before.commands + 1, self->info.commands); \
	EXPECT_EQ(self->before.sequence + 1, self->info.sequence); \
	EXPECT_EQ(0, self->info.aborts); \
	EXPECT_EQ(0, self->info.timeouts); \
} while (0)

#define expect_counts(stale, bad, again) do { \
	EXPECT_EQ(stale, self->info.stale_replies); \
	EXPECT_EQ(bad, self->info.bad_replies); \
	EXPECT_EQ(again, self->info.redeliveries); \
} while (0)

TEST_F(channel, idle)
{
	EXPECT_EQ(0, vt_poll(self->engine, 0));
	EXPECT_EQ(-1, read(self->engine, self->buf, sizeof(self->buf)));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(-1, read(self->engine, self->buf, 0));
	EXPECT_EQ(EAGAIN, errno);
	/* Not a file with positions. */
	EXPECT_EQ(-1, pread(self->engine, self->buf, sizeof(self->buf), 0));
	EXPECT_EQ(-1, lseek(self->engine, 0, SEEK_SET));
}

TEST_F(channel, poll_masks)
{
	EXPECT_EQ(0, vt_poll(self->engine, 0));
	queue_command();
	EXPECT_EQ(POLLIN, vt_poll(self->engine, 0));
	ASSERT_LT(0, engine_fetch(self->engine, &self->frame, self->buf));
	EXPECT_EQ(POLLOUT, vt_poll(self->engine, 0));
	self->len = engine_answer(self->buf, self->frame.len, self->reply);
	EXPECT_EQ(0, engine_reply(self->engine, self->frame.seq, self->reply,
				  self->len));
	EXPECT_EQ(0, vt_poll(self->engine, 0));
	expect_answered();
	expect_counts(0, 0, 0);
}

TEST_F(channel, epoll_edge)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };
	int ep = epoll_create1(EPOLL_CLOEXEC);

	ASSERT_GE(ep, 0);
	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, self->engine, &ev));
	EXPECT_EQ(0, epoll_wait(ep, &ev, 1, 0));
	ASSERT_EQ(0, vt_client_echo(&self->client, self->fd, 1));
	ASSERT_EQ(1, epoll_wait(ep, &ev, 1, VT_PATIENCE_MS));
	EXPECT_EQ(EPOLLIN, ev.events);
	ASSERT_LT(0, engine_fetch(self->engine, &self->frame, self->buf));
	self->len = engine_answer(self->buf, self->frame.len, self->reply);
	ASSERT_EQ(0, engine_reply(self->engine, self->frame.seq, self->reply,
				  self->len));
	expect_answered();

	/* The next frame is a new edge; so is the end. */
	ASSERT_EQ(0, vt_client_echo(&self->client, self->fd, 2));
	ASSERT_EQ(1, epoll_wait(ep, &ev, 1, VT_PATIENCE_MS));
	ASSERT_EQ(0, vt_target(self->control, VTPM_IOC_DESTROY, self->dev.uuid));
	ASSERT_EQ(1, epoll_wait(ep, &ev, 1, VT_PATIENCE_MS));
	EXPECT_EQ(EPOLLHUP, ev.events & EPOLLHUP);
	ASSERT_TRUE(vt_client_done(&self->client, VT_PATIENCE_MS));
	EXPECT_EQ(-EPIPE, self->client.rc);
}

/* One read() and one write() of one buffer each. */
TEST_F(channel, read_and_write)
{
	struct vtpm_frame *f = (void *)self->buf;
	ssize_t n;

	queue_command();
	n = read(self->engine, self->buf, sizeof(self->buf));
	ASSERT_EQ(HEADER + self->client.len, n);
	EXPECT_EQ(self->before.sequence + 1, f->seq);
	EXPECT_EQ(self->client.len, f->len);
	EXPECT_EQ(VTPM_FRAME_COMMAND, f->type);
	EXPECT_EQ(0, f->locality);
	EXPECT_EQ(0, f->flags);
	EXPECT_EQ(0, memcmp(self->buf + HEADER, self->client.cmd, f->len));

	f->type = 0;
	f->len = engine_answer(self->client.cmd, self->client.len,
			       self->buf + HEADER);
	n = write(self->engine, self->buf, HEADER + f->len);
	EXPECT_EQ(HEADER + f->len, n);
	expect_answered();
	expect_counts(0, 0, 0);
}

/* The longest frames there are, through iovecs that split them everywhere. */
TEST_F(channel, split_vectors)
{
	struct iovec iov[8];
	struct vtpm_frame *f = (void *)self->buf;
	const size_t cut[8] = { 1, 3, 0, 11, 2, 7, 1000, 3088 };
	size_t at = 0;
	int i;

	self->client.len = vt_cmd_echo(self->client.cmd, 0xabcd,
				       VTPM_FRAME_MAX - TPM_HEADER);
	for (i = 0; i < 8; at += cut[i++])
		iov[i] = (struct iovec){ self->buf + at, cut[i] };
	ASSERT_EQ(HEADER + VTPM_FRAME_MAX, at);
	ASSERT_EQ(0, vt_client_start(&self->client, self->fd));
	ASSERT_EQ(1, vt_readable(self->engine, VT_PATIENCE_MS));
	ASSERT_EQ(at, readv(self->engine, iov, 8));
	EXPECT_EQ(VTPM_FRAME_MAX, f->len);
	EXPECT_EQ(0, memcmp(self->buf + HEADER, self->client.cmd,
			    VTPM_FRAME_MAX));
	f->type = 0;
	engine_answer(self->client.cmd, VTPM_FRAME_MAX, self->buf + HEADER);
	ASSERT_EQ(at, writev(self->engine, iov, 8));
	expect_answered();
	expect_counts(0, 0, 0);
}

TEST_F(channel, short_buffer)
{
	size_t size;

	queue_command();
	for (size = 0; size < HEADER + self->client.len; size++) {
		ASSERT_EQ(-1, read(self->engine, self->buf, size));
		ASSERT_EQ(EMSGSIZE, errno) TH_LOG("size %zu", size);
	}
	EXPECT_EQ(POLLIN, vt_poll(self->engine, 0));
	ASSERT_EQ(size, read(self->engine, self->buf, size));
	memcpy(&self->frame, self->buf, HEADER);
	EXPECT_EQ(0, self->frame.flags);
	self->len = engine_answer(self->buf + HEADER, self->frame.len,
				  self->reply);
	EXPECT_EQ(0, engine_reply(self->engine, self->frame.seq, self->reply,
				  self->len));
	expect_answered();
	expect_counts(0, 0, 0);
}

/* A frame that could not be copied is not lost, nor marked. */
TEST_F(channel, fault_on_read)
{
	__u8 *edge = vt_no_access();
	size_t room;

	queue_command();
	for (room = 0; room < HEADER + self->client.len; room += 5) {
		EXPECT_EQ(-1, read(self->engine, edge - room, VTPM_FRAME_MAX));
		EXPECT_EQ(EFAULT, errno) TH_LOG("room %zu", room);
	}
	EXPECT_EQ(POLLIN, vt_poll(self->engine, 0));
	ASSERT_LT(0, engine_fetch(self->engine, &self->frame, self->buf));
	EXPECT_EQ(0, self->frame.flags);
	EXPECT_EQ(0, memcmp(self->buf, self->client.cmd, self->client.len));
	self->len = engine_answer(self->buf, self->frame.len, self->reply);
	EXPECT_EQ(0, engine_reply(self->engine, self->frame.seq, self->reply,
				  self->len));
	expect_answered();
	expect_counts(0, 0, 0);
}

/* A reply that could not be copied is still owed. */
TEST_F(channel, fault_on_write)
{
	struct vtpm_frame good;
	__u8 *edge = vt_no_access();
	size_t room;

	take_command();
	memset(&good, 0, sizeof(good));
	good.seq = self->frame.seq;
	good.len = self->len;
	for (room = 0; room < HEADER + self->len; room += 7) {
		memcpy(edge - room, &good, room < HEADER ? room : HEADER);
		EXPECT_EQ(-1, write(self->engine, edge - room,
				    HEADER + self->len));
		EXPECT_EQ(EFAULT, errno) TH_LOG("room %zu", room);
	}
	EXPECT_EQ(POLLOUT, vt_poll(self->engine, 0));
	EXPECT_EQ(0, engine_reply(self->engine, self->frame.seq, self->reply,
				  self->len));
	expect_answered();
	expect_counts(0, 0, 0);
}

TEST_F(channel, bad_lengths)
{
	struct vtpm_frame *f = (void *)self->buf;
	__u64 bad = 0;
	size_t size;

	take_command();
	memset(self->buf, 0, sizeof(self->buf));
	f->seq = self->frame.seq;

	/* No header, half a header, nothing but a header. */
	for (size = 0; size <= HEADER; size++, bad++) {
		EXPECT_EQ(-1, write(self->engine, self->buf, size));
		EXPECT_EQ(EBADMSG, errno) TH_LOG("size %zu", size);
	}
	/* The header's length is not the buffer's. */
	memcpy(self->buf + HEADER, self->reply, self->len);
	for (f->len = 0; f->len <= self->len + 1; f->len++) {
		if (f->len == self->len)
			continue;
		EXPECT_EQ(-1, write(self->engine, self->buf, HEADER + self->len));
		EXPECT_EQ(EBADMSG, errno) TH_LOG("len %u", f->len);
		bad++;
	}
	f->len = ~0U;
	EXPECT_EQ(-1, write(self->engine, self->buf, HEADER + self->len));
	EXPECT_EQ(EBADMSG, errno);
	f->len = VTPM_FRAME_MAX + 1;
	EXPECT_EQ(-1, write(self->engine, self->buf, HEADER + self->len));
	EXPECT_EQ(EBADMSG, errno);
	bad += 2;
	/* The TPM header's length is not the frame's. */
	f->len = self->len;
	put32(self->buf + HEADER + 2, self->len - 1);
	EXPECT_EQ(-1, write(self->engine, self->buf, HEADER + self->len));
	EXPECT_EQ(EBADMSG, errno);
	put32(self->buf + HEADER + 2, self->len);
	/* Not a tag of TPM 2.0. */
	put16(self->buf + HEADER, 0x00c1);
	EXPECT_EQ(-1, write(self->engine, self->buf, HEADER + self->len));
	EXPECT_EQ(EBADMSG, errno);
	put16(self->buf + HEADER, TPM_ST_NO_SESSIONS);
	bad += 2;

	/* Longer than any frame: not even looked at. */
	f->len = VTPM_FRAME_MAX + 1;
	EXPECT_EQ(-1, write(self->engine, self->buf,
			    HEADER + VTPM_FRAME_MAX + 1));
	EXPECT_EQ(EMSGSIZE, errno);

	EXPECT_EQ(POLLOUT, vt_poll(self->engine, 0));
	f->len = self->len;
	EXPECT_EQ(HEADER + self->len,
		  write(self->engine, self->buf, HEADER + self->len));
	expect_answered();
	expect_counts(0, bad, 0);
}

TEST_F(channel, zero_in_reply)
{
	struct vtpm_frame *f = (void *)self->buf;
	int i;

	take_command();
	memcpy(self->buf + HEADER, self->reply, self->len);
	for (i = 0; i < 3; i++) {
		*f = (struct vtpm_frame){
			.seq = self->frame.seq, .len = self->len,
			.type = i == 0, .locality = i == 1, .flags = i == 2,
		};
		EXPECT_EQ(-1, write(self->engine, self->buf, HEADER + self->len));
		EXPECT_EQ(EBADMSG, errno) TH_LOG("field %d", i);
	}
	EXPECT_EQ(0, engine_reply(self->engine, self->frame.seq, self->reply,
				  self->len));
	expect_answered();
	expect_counts(0, 3, 0);
}

/* Replies that answer nothing. */
TEST_F(channel, stale)
{
	__u64 seq;

	self->len = tpm_header(self->reply, 0, TPM_HEADER);
	EXPECT_EQ(-ESTALE, engine_reply(self->engine, self->before.sequence,
					self->reply, self->len));
	EXPECT_EQ(-ESTALE, engine_reply(self->engine, self->before.sequence + 1,
					self->reply, self->len));
	EXPECT_EQ(-ESTALE, engine_reply(self->engine, 0, self->reply, self->len));

	/* There, but not yet fetched. */
	queue_command();
	EXPECT_EQ(-ESTALE, engine_reply(self->engine, self->before.sequence + 1,
					self->reply, self->len));
	ASSERT_LT(0, engine_fetch(self->engine, &self->frame, self->buf));
	seq = self->frame.seq;
	EXPECT_EQ(-ESTALE, engine_reply(self->engine, seq - 1, self->reply,
					self->len));
	EXPECT_EQ(-ESTALE, engine_reply(self->engine, seq + 1, self->reply,
					self->len));
	EXPECT_EQ(-ESTALE, engine_reply(self->engine, seq + (1ULL << 32),
					self->reply, self->len));
	EXPECT_EQ(-ESTALE, engine_reply(self->engine, ~0ULL, self->reply,
					self->len));

	/* Twice: the second one answers nothing. */
	self->len = engine_answer(self->buf, self->frame.len, self->reply);
	EXPECT_EQ(0, engine_reply(self->engine, seq, self->reply, self->len));
	EXPECT_EQ(-ESTALE, engine_reply(self->engine, seq, self->reply,
					self->len));
	expect_answered();
	expect_counts(9, 0, 0);
}

TEST_F(channel, wake)
{
	int i;

	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, vt_target(self->control, VTPM_IOC_WAKE,
				       self->dev.uuid));
	EXPECT_EQ(POLLIN, vt_poll(self->engine, 0));
	/* Too short for a header: not consumed. */
	EXPECT_EQ(-1, read(self->engine, self->buf, HEADER - 1));
	EXPECT_EQ(EMSGSIZE, errno);
	EXPECT_EQ(HEADER, read(self->engine, self->buf, HEADER));
	memcpy(&self->frame, self->buf, HEADER);
	EXPECT_EQ(VTPM_FRAME_WAKE, self->frame.type);
	EXPECT_EQ(0, self->frame.len);
	EXPECT_EQ(0, self->frame.flags);
	EXPECT_EQ(0, vt_poll(self->engine, 0));
	EXPECT_EQ(-EAGAIN, engine_fetch(self->engine, &self->frame, self->buf));

	/* A command and a WAKE: both come, each once. */
	queue_command();
	EXPECT_EQ(0, vt_target(self->control, VTPM_IOC_WAKE, self->dev.uuid));
	for (i = 0; i < 2; i++) {
		ASSERT_LE(0, engine_fetch(self->engine, &self->frame, self->buf));
		if (self->frame.type == VTPM_FRAME_WAKE)
			continue;
		ASSERT_EQ(VTPM_FRAME_COMMAND, self->frame.type);
		self->len = engine_answer(self->buf, self->frame.len,
					  self->reply);
		EXPECT_EQ(0, engine_reply(self->engine, self->frame.seq,
					  self->reply, self->len));
	}
	EXPECT_EQ(-EAGAIN, engine_fetch(self->engine, &self->frame, self->buf));
	expect_answered();
	expect_counts(0, 0, 0);
}

/* Two engines fight for one device. */
TEST_F(channel, replace)
{
	__u64 sequence;
	int second;

	take_command();
	EXPECT_EQ(-EBUSY, vt_attach(self->control, &self->dev, 0, NULL));
	EXPECT_EQ(POLLOUT, vt_poll(self->engine, 0));
	second = vt_attach(self->control, &self->dev, VTPM_ATTACH_REPLACE,
			   &sequence);
	ASSERT_GE(second, 0);
	EXPECT_EQ(self->frame.seq, sequence);

	/* The first is out, whatever it tries. */
	EXPECT_EQ(POLLHUP, vt_poll(self->engine, 0));
	EXPECT_EQ(-EPIPE, engine_reply(self->engine, self->frame.seq,
				       self->reply, self->len));
	EXPECT_EQ(-EPIPE, engine_fetch(self->engine, &self->frame, self->buf));
	EXPECT_TRUE(vt_client_waits(&self->client));

	ASSERT_EQ((int)self->client.len,
		  engine_fetch(second, &self->frame, self->buf));
	EXPECT_EQ(sequence, self->frame.seq);
	EXPECT_EQ(VTPM_FRAME_F_REDELIVERED, self->frame.flags);
	EXPECT_EQ(-EPIPE, engine_reply(self->engine, sequence, self->reply,
				       self->len));
	close(self->engine);
	EXPECT_EQ(POLLOUT, vt_poll(second, 0));
	EXPECT_EQ(0, engine_reply(second, sequence, self->reply, self->len));
	expect_answered();
	expect_counts(0, 0, 1);
	EXPECT_EQ(2, self->info.attaches);
	EXPECT_EQ(VTPM_STATE_LIVE, self->info.state);
	EXPECT_EQ(VTPM_COND_ATTACHED | VTPM_COND_REGISTERED,
		  self->info.conditions);
	/* Replaced is not orphaned. */
	EXPECT_EQ(-ETIMEDOUT, vt_event(self->control, self->dev.uuid,
				       VTPM_EVENT_ORPHANED, VT_QUIET_MS, NULL));
}

/* The engine fd is a capability: another user with no rights may serve. */
TEST_F(channel, passed_to_unprivileged)
{
	int sock[2], fd;
	struct engine e;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sock));
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		close(self->engine);
		close(self->control);
		close(self->fd);
		if (setresuid(65534, 65534, 65534))
			_exit(1);
		fd = vt_recv_fd(sock[1]);
		if (vt_readable(fd, VT_PATIENCE_MS) != 1)
			_exit(2);
		engine_init(&e, fd);
		_exit(engine_step(&e) || open("/dev/vtpm", O_RDWR) >= 0);
	}
	ASSERT_EQ(0, vt_send_fd(sock[0], self->engine));
	close(self->engine);
	ASSERT_EQ(0, vt_client_echo(&self->client, self->fd, 3));
	EXPECT_EQ(0, vt_reap(pid, VT_PATIENCE_MS));
	expect_answered();
	/* With the last copy the engine is gone. */
	ASSERT_EQ(0, vt_event(self->control, self->dev.uuid,
			      VTPM_EVENT_ORPHANED, VT_PATIENCE_MS, NULL));
}

TEST_HARNESS_MAIN
