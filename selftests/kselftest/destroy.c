// SPDX-License-Identifier: GPL-2.0-only
/*
 * The end of a device, and the number that stays taken.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include "kselftest_harness.h"

#include "vt.h"

#define CLIENTS	10

FIXTURE(destroy) {
	int control;
	struct vtpm_create dev;	/* LIVE, served by nobody */
	struct vtpm_info info;
	struct vtpm_event event;
};

FIXTURE_SETUP(destroy)
{
	self->control = vt_setup();
	ASSERT_GE(self->control, 0);
	ASSERT_EQ(0, vt_make(self->control, &self->dev));
	vt_drain(self->control);
}

FIXTURE_TEARDOWN(destroy)
{
	vt_wipe(self->control);
}

/*
 * Clients that wait, on both nodes and with the engine gone, are sent away.  Those of
 * /dev/tpmrmN wait for the core's lock and look at its command table when they get
 * it, while the table's owner is on its way out: hence many of them, many times.
 */
TEST_F(destroy, while_clients_block)
{
	struct vt_client *client = calloc(CLIENTS, sizeof(*client));
	int fd[CLIENTS], round, i, wrong = 0;
	long start;

	ASSERT_NE(NULL, client);
	for (round = 0; round < 6; round++) {
		close(self->dev.engine_fd);
		for (i = 0; i < CLIENTS; i++) {
			fd[i] = vt_node(&self->dev, i > 0, 0);
			ASSERT_GE(fd[i], 0);
			ASSERT_EQ(0, vt_client_getcap(&client[i], fd[i]));
		}
		EXPECT_TRUE(vt_client_waits(&client[0]));
		start = vt_now_ms();
		ASSERT_EQ(0, vt_target(self->control, VTPM_IOC_DESTROY,
				       self->dev.uuid));
		for (i = 0; i < CLIENTS; i++) {
			ASSERT_TRUE(vt_client_done(&client[i], VT_PATIENCE_MS));
			wrong += client[i].rc != -EPIPE;
			close(fd[i]);
		}
		EXPECT_EQ(0, wrong) TH_LOG("round %d", round);
		EXPECT_GE(2000, vt_now_ms() - start);
		ASSERT_EQ(0, vt_event(self->control, self->dev.uuid,
				      VTPM_EVENT_DESTROYED, VT_PATIENCE_MS,
				      NULL));
		ASSERT_EQ(0, vt_release(self->control, self->dev.uuid));
		memset(&self->dev, 0, sizeof(self->dev));
		ASSERT_EQ(0, vt_make(self->control, &self->dev));
	}
}

TEST_F(destroy, engine_and_client)
{
	struct vtpm_frame frame;
	struct vt_client client;
	__u8 cmd[VTPM_FRAME_MAX];
	int fd;

	ASSERT_GE(fd = vt_node(&self->dev, false, 0), 0);
	ASSERT_EQ(0, vt_client_echo(&client, fd, 1));
	ASSERT_EQ(1, vt_readable(self->dev.engine_fd, VT_PATIENCE_MS));
	ASSERT_LT(0, engine_fetch(self->dev.engine_fd, &frame, cmd));
	ASSERT_EQ(0, vt_target(self->control, VTPM_IOC_DESTROY, self->dev.uuid));
	ASSERT_TRUE(vt_client_done(&client, VT_PATIENCE_MS));
	EXPECT_EQ(-EPIPE, client.rc);
	EXPECT_EQ(-ESHUTDOWN, engine_fetch(self->dev.engine_fd, &frame, cmd));
	EXPECT_EQ(-ESHUTDOWN, engine_reply(self->dev.engine_fd, frame.seq, cmd,
					   10));
	EXPECT_EQ(POLLHUP, vt_poll(self->dev.engine_fd, 0));
	ASSERT_EQ(0, vt_event(self->control, self->dev.uuid, 0, VT_PATIENCE_MS,
			      &self->event));
	EXPECT_EQ(VTPM_EVENT_DESTROYED, self->event.type);
	EXPECT_EQ(self->dev.tpm_number, self->event.tpm_number);

	EXPECT_EQ(0, vt_node_devt(&self->dev, false));
	EXPECT_EQ(0, vt_node_devt(&self->dev, true));
	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &self->info));
	EXPECT_EQ(VTPM_STATE_DEAD, self->info.state);
	EXPECT_EQ(VTPM_COND_NUMBER_HELD, self->info.conditions);
	EXPECT_EQ(self->dev.tpm_number, self->info.tpm_number);

	/* The engine's close is no news any more. */
	close(self->dev.engine_fd);
	EXPECT_EQ(-ETIMEDOUT, vt_event(self->control, NULL, 0, VT_QUIET_MS,
				       &self->event));
	EXPECT_EQ(0, vt_target(self->control, VTPM_IOC_RELEASE_NUMBER,
			       self->dev.uuid));
	EXPECT_EQ(-ENOENT, vt_info(self->control, self->dev.uuid, &self->info));
	EXPECT_EQ(-ENOENT, vt_target(self->control, VTPM_IOC_RELEASE_NUMBER,
				     self->dev.uuid));
}

TEST_F(destroy, number_held)
{
	struct vtpm_create next = {}, third = {};

	EXPECT_EQ(-EBUSY, vt_target(self->control, VTPM_IOC_RELEASE_NUMBER,
				    self->dev.uuid));
	ASSERT_EQ(0, vt_target(self->control, VTPM_IOC_DESTROY, self->dev.uuid));
	ASSERT_EQ(0, vt_event(self->control, self->dev.uuid,
			      VTPM_EVENT_DESTROYED, VT_PATIENCE_MS, NULL));
	ASSERT_EQ(0, vt_create(self->control, &next));
	EXPECT_NE(self->dev.tpm_number, next.tpm_number);
	EXPECT_NE(makedev(self->dev.dev_major, self->dev.dev_minor),
		  makedev(next.dev_major, next.dev_minor));
	ASSERT_EQ(0, vt_target(self->control, VTPM_IOC_RELEASE_NUMBER,
			       self->dev.uuid));
	ASSERT_EQ(0, vt_create(self->control, &third));
	EXPECT_EQ(self->dev.tpm_number, third.tpm_number);
}

/* Made again with its uuid: the dead one holds its number, the new one is meant. */
TEST_F(destroy, made_again)
{
	struct vtpm_create again = {};
	struct vtpm_info info;
	int i;

	memcpy(again.uuid, self->dev.uuid, sizeof(again.uuid));
	EXPECT_EQ(-EEXIST, vt_create(self->control, &again));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, vt_target(self->control, VTPM_IOC_DESTROY,
				       again.uuid));
		ASSERT_EQ(0, vt_event(self->control, again.uuid,
				      VTPM_EVENT_DESTROYED, VT_PATIENCE_MS,
				      NULL));
		ASSERT_EQ(0, vt_make(self->control, &again));
		EXPECT_EQ(i + 1, again.tpm_number);
		EXPECT_EQ(i + 2, vt_total(self->control));
		ASSERT_EQ(0, vt_info(self->control, again.uuid, &info));
		EXPECT_EQ(VTPM_STATE_LIVE, info.state);
		EXPECT_EQ(again.tpm_number, info.tpm_number);
	}
	EXPECT_EQ(-ESTALE, vt_attach(self->control, &self->dev,
				     VTPM_ATTACH_REPLACE, NULL));

	/* One of the dead ones, by its number; a number of nobody's; a live one's. */
	struct vtpm_target one = {
		.size = sizeof(one), .flags = VTPM_TARGET_NUMBER,
		.tpm_number = 77,
	};

	memcpy(one.uuid, again.uuid, sizeof(one.uuid));
	EXPECT_EQ(-EBUSY, vt_ioctl(self->control, VTPM_IOC_RELEASE_NUMBER, &one));
	one.tpm_number = again.tpm_number;
	EXPECT_EQ(-EBUSY, vt_ioctl(self->control, VTPM_IOC_RELEASE_NUMBER, &one));
	one.tpm_number = 1;
	EXPECT_EQ(0, vt_ioctl(self->control, VTPM_IOC_RELEASE_NUMBER, &one));
	EXPECT_EQ(2, vt_total(self->control));
	EXPECT_EQ(-EINVAL, vt_ioctl(self->control, VTPM_IOC_DESTROY, &one));
	one.flags = 0;
	EXPECT_EQ(-EINVAL, vt_ioctl(self->control, VTPM_IOC_RELEASE_NUMBER, &one));

	/* Every dead one is forgotten, the other one is left alone. */
	EXPECT_EQ(0, vt_target(self->control, VTPM_IOC_RELEASE_NUMBER,
			       again.uuid));
	EXPECT_EQ(1, vt_total(self->control));
	EXPECT_EQ(-EBUSY, vt_target(self->control, VTPM_IOC_RELEASE_NUMBER,
				    again.uuid));
	ASSERT_EQ(0, vt_info(self->control, again.uuid, &info));
	EXPECT_EQ(VTPM_STATE_LIVE, info.state);
	memset(&again, 0, sizeof(again));
	ASSERT_EQ(0, vt_create(self->control, &again));
	EXPECT_EQ(0, again.tpm_number);
}

/* What a container still holds never leads to a later device. */
TEST_F(destroy, stale_node_and_file)
{
	struct vtpm_create first = {}, later = {};
	char node[2][32] = { "/dev/vtpm-stale", "/dev/vtpm-stale-rm" };
	const char *fresh = "/dev/vtpm-stale-fresh";
	int fd[2], i;
	struct engine e;
	__u8 cmd[64];
	size_t len;

	/* Not tpm0: that one has a number among the misc devices. */
	ASSERT_EQ(0, vt_make(self->control, &first));
	ASSERT_EQ(0, mknod(node[0], S_IFCHR | 0600,
			   makedev(first.dev_major, first.dev_minor)));
	ASSERT_EQ(0, mknod(node[1], S_IFCHR | 0600,
			   makedev(first.devrm_major, first.devrm_minor)));
	for (i = 0; i < 2; i++) {
		fd[i] = open(node[i], O_RDWR | O_CLOEXEC);
		ASSERT_GE(fd[i], 0) TH_LOG("%s", node[i]);
	}
	ASSERT_EQ(0, vt_target(self->control, VTPM_IOC_DESTROY, first.uuid));
	ASSERT_EQ(0, vt_event(self->control, first.uuid, VTPM_EVENT_DESTROYED,
			      VT_PATIENCE_MS, NULL));

	ASSERT_EQ(0, vt_make(self->control, &later));
	EXPECT_NE(first.tpm_number, later.tpm_number);
	for (i = 0; i < 2; i++) {
		dev_t devt = i ? makedev(first.devrm_major, first.devrm_minor) :
				 makedev(first.dev_major, first.dev_minor);

		ASSERT_EQ(0, mknod(fresh, S_IFCHR | 0600, devt));
		EXPECT_EQ(-1, open(fresh, O_RDWR | O_CLOEXEC));
		EXPECT_EQ(ENXIO, errno);
		unlink(fresh);
	}
	/* An inode that has an open file leads to the dead device, for good. */
	EXPECT_EQ(-1, open(node[0], O_RDWR | O_CLOEXEC));
	EXPECT_EQ(EBUSY, errno);
	engine_init(&e, later.engine_fd);
	ASSERT_EQ(0, engine_start(&e));
	len = vt_cmd_getcap(cmd);
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(-1, write(fd[i], cmd, len));
		EXPECT_EQ(EPIPE, errno);
	}

	/* The open files outlive even the number. */
	ASSERT_EQ(0, vt_target(self->control, VTPM_IOC_RELEASE_NUMBER,
			       first.uuid));
	memset(&first, 0, sizeof(first));
	ASSERT_EQ(0, vt_make(self->control, &first));
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(-1, write(fd[i], cmd, len));
		EXPECT_EQ(EPIPE, errno);
		close(fd[i]);
		unlink(node[i]);
	}
	EXPECT_EQ(0, vt_readable(first.engine_fd, VT_QUIET_MS));
	engine_stop(&e);
	EXPECT_EQ(0, e.frames);
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

TEST_F(destroy, sysfs_goes)
{
	EXPECT_EQ(1, platform_devices());
	ASSERT_EQ(0, vt_target(self->control, VTPM_IOC_DESTROY, self->dev.uuid));
	ASSERT_EQ(0, vt_event(self->control, self->dev.uuid,
			      VTPM_EVENT_DESTROYED, VT_PATIENCE_MS, NULL));
	EXPECT_EQ(0, platform_devices());
}

TEST_HARNESS_MAIN
