// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two hundred devices at once, each with an engine and a client.
 */
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include "kselftest_harness.h"

#include "vt.h"

#define DEVICES	200

FIXTURE(scale) {
	int control;
	int ep;			/* all engine fds, and stop */
	int stop;
	pthread_t thread;
	struct vtpm_create dev[DEVICES];
	struct engine engine[DEVICES];
	struct vt_client *client;
	bool seen[65536];	/* by tpm_number */
};

/* One thread serves them all. */
static void *serve(void *arg)
{
	FIXTURE_DATA(scale) *self = arg;
	struct epoll_event ev[32];
	int i, n;

	for (;;) {
		n = epoll_wait(self->ep, ev, 32, -1);
		for (i = 0; i < n; i++) {
			struct engine *e = ev[i].data.ptr;

			if (!e)
				return NULL;
			if (ev[i].events & EPOLLHUP)
				epoll_ctl(self->ep, EPOLL_CTL_DEL, e->fd, NULL);
			else
				engine_step(e);
		}
	}
}

FIXTURE_SETUP(scale)
{
	struct rlimit limit = { 4096, 4096 };
	struct epoll_event ev = { .events = EPOLLIN };

	setrlimit(RLIMIT_NOFILE, &limit);
	self->control = vt_setup();
	ASSERT_GE(self->control, 0);
	self->client = calloc(DEVICES, sizeof(*self->client));
	ASSERT_NE(NULL, self->client);
	self->ep = epoll_create1(EPOLL_CLOEXEC);
	self->stop = eventfd(0, EFD_CLOEXEC);
	ASSERT_EQ(0, epoll_ctl(self->ep, EPOLL_CTL_ADD, self->stop, &ev));
	ASSERT_EQ(0, pthread_create(&self->thread, NULL, serve, self));
}

FIXTURE_TEARDOWN(scale)
{
	eventfd_write(self->stop, 1);
	pthread_join(self->thread, NULL);
	vt_wipe(self->control);
}

TEST_F_TIMEOUT(scale, all_at_once, 60)
{
	struct vtpm_event event;
	long t[6];
	int i, fd;

	t[0] = vt_now_ms();
	for (i = 0; i < DEVICES; i++) {
		struct epoll_event ev = { .events = EPOLLIN };

		ASSERT_EQ(0, vt_create(self->control, &self->dev[i]));
		ASSERT_LT(self->dev[i].tpm_number, 65536);
		EXPECT_FALSE(self->seen[self->dev[i].tpm_number]);
		self->seen[self->dev[i].tpm_number] = true;
		engine_init(&self->engine[i], self->dev[i].engine_fd);
		ASSERT_EQ(0, vt_nonblock(self->dev[i].engine_fd, true));
		ev.data.ptr = &self->engine[i];
		ASSERT_EQ(0, epoll_ctl(self->ep, EPOLL_CTL_ADD,
				       self->dev[i].engine_fd, &ev));
	}
	t[1] = vt_now_ms();
	for (i = 0; i < DEVICES; i++) {
		ASSERT_EQ(0, vt_event(self->control, NULL, VTPM_EVENT_REGISTERED,
				      2 * VT_PATIENCE_MS, &event));
		EXPECT_EQ(0, event.error);
	}
	t[2] = vt_now_ms();

	/* A client of each; every one gets the answer to its own question. */
	for (i = 0; i < DEVICES; i++) {
		ASSERT_GE(fd = vt_node(&self->dev[i], false, 0), 0);
		ASSERT_EQ(0, vt_client_echo(&self->client[i], fd, i << 8));
	}
	for (i = 0; i < DEVICES; i++) {
		ASSERT_TRUE(vt_client_done(&self->client[i],
					   2 * VT_PATIENCE_MS));
		EXPECT_TRUE(vt_client_echoed(&self->client[i]))
			TH_LOG("device %d: %d", i, self->client[i].rc);
	}
	t[3] = vt_now_ms();

	EXPECT_EQ(DEVICES, vt_total(self->control));
	for (i = 0; i < DEVICES; i++)
		EXPECT_EQ(0, vt_target(self->control, VTPM_IOC_DESTROY,
				       self->dev[i].uuid));
	for (i = 0; i < DEVICES; i++)
		ASSERT_EQ(0, vt_event(self->control, NULL, VTPM_EVENT_DESTROYED,
				      2 * VT_PATIENCE_MS, &event));
	t[4] = vt_now_ms();
	for (i = 0; i < DEVICES; i++)
		EXPECT_EQ(0, vt_target(self->control, VTPM_IOC_RELEASE_NUMBER,
				       self->dev[i].uuid));
	t[5] = vt_now_ms();
	EXPECT_EQ(0, vt_total(self->control));
	TH_LOG("%d devices: create %ld, register %ld, command %ld, destroy %ld, release %ld ms",
	       DEVICES, t[1] - t[0], t[2] - t[1], t[3] - t[2], t[4] - t[3],
	       t[5] - t[4]);
}

TEST_HARNESS_MAIN
