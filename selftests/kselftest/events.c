// SPDX-License-Identifier: GPL-2.0-only
/*
 * Events: the queue of each open file of /dev/vtpm.
 */
#include "kselftest_harness.h"

#include "vt.h"

FIXTURE(events) {
	int control;
	struct vtpm_create dev;	/* LIVE, served by nobody */
	struct vtpm_event event;
};

FIXTURE_SETUP(events)
{
	self->control = vt_setup();
	ASSERT_GE(self->control, 0);
	ASSERT_EQ(0, vt_make(self->control, &self->dev));
	vt_drain(self->control);
}

FIXTURE_TEARDOWN(events)
{
	vt_wipe(self->control);
}

TEST_F(events, two_readers)
{
	int other = vt_open(), late, i;

	ASSERT_GE(other, 0);
	close(self->dev.engine_fd);
	late = vt_open();
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, vt_event(i ? other : self->control, NULL, 0,
				      VT_PATIENCE_MS, &self->event));
		EXPECT_EQ(VTPM_EVENT_ORPHANED, self->event.type);
		EXPECT_EQ(0, memcmp(self->event.uuid, self->dev.uuid,
				    VTPM_UUID_SIZE));
	}
	/* The queue begins to fill at open(). */
	EXPECT_EQ(0, vt_readable(late, 0));
	EXPECT_EQ(0, vt_readable(other, 0));
}

TEST_F(events, read)
{
	struct vtpm_event e[4];
	int fd, i;

	EXPECT_EQ(-1, read(self->control, e, sizeof(e[0])));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(-1, read(self->control, e, sizeof(e[0]) - 1));
	EXPECT_EQ(EINVAL, errno);
	close(self->dev.engine_fd);
	for (i = 0; i < 2; i++) {
		ASSERT_GE(fd = vt_attach(self->control, &self->dev, 0, NULL), 0);
		close(fd);
	}
	/* A bad address and a short buffer cost nothing. */
	EXPECT_EQ(-1, read(self->control, vt_no_access(), sizeof(e)));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, read(self->control, e, 0));
	EXPECT_EQ(EINVAL, errno);
	/* As many whole ones as fit. */
	EXPECT_EQ(2 * sizeof(e[0]), read(self->control, e, 3 * sizeof(e[0]) - 1));
	EXPECT_EQ(VTPM_EVENT_ORPHANED, e[1].type);
	EXPECT_EQ(sizeof(e[0]), read(self->control, e, sizeof(e)));
	EXPECT_EQ(0, vt_readable(self->control, 0));
}

TEST_F(events, overflow)
{
	static const __u8 nil[VTPM_UUID_SIZE];
	int slow = vt_open(), fd, i, n = 0, rc;

	ASSERT_GE(slow, 0);
	close(self->dev.engine_fd);
	for (i = 0; i < 1200; i++) {
		ASSERT_GE(fd = vt_attach(self->control, &self->dev, 0, NULL), 0);
		close(fd);
		ASSERT_EQ(0, vt_event(self->control, NULL, 0, VT_PATIENCE_MS,
				      NULL));
	}
	do {
		rc = vt_event(slow, NULL, 0, 0, &self->event);
		n++;
	} while (!rc && self->event.type == VTPM_EVENT_ORPHANED);
	ASSERT_EQ(0, rc);
	EXPECT_LT(16, n);
	EXPECT_GT(1200, n);
	EXPECT_EQ(VTPM_EVENT_OVERFLOW, self->event.type);
	EXPECT_EQ(0, memcmp(self->event.uuid, nil, sizeof(nil)));
	EXPECT_EQ(0, vt_readable(slow, 0));

	/* From here on it is complete again. */
	ASSERT_GE(fd = vt_attach(self->control, &self->dev, 0, NULL), 0);
	close(fd);
	ASSERT_EQ(0, vt_event(slow, NULL, 0, VT_PATIENCE_MS, &self->event));
	EXPECT_EQ(VTPM_EVENT_ORPHANED, self->event.type);
}

TEST_HARNESS_MAIN
