// SPDX-License-Identifier: GPL-2.0-only
/*
 * The life of a device: registration, engines that come and go, power cycles.
 */
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include "kselftest_harness.h"

#include "vt.h"

#define LABEL	"life of a device"

FIXTURE(life) {
	int control;
	struct vtpm_create dev;	/* LIVE, served by nobody */
	struct vtpm_info info;
	struct vtpm_event event;
};

FIXTURE_SETUP(life)
{
	self->control = vt_setup();
	ASSERT_GE(self->control, 0);
	memcpy(self->dev.label, LABEL, sizeof(LABEL));
	ASSERT_EQ(0, vt_make(self->control, &self->dev));
	vt_drain(self->control);
}

FIXTURE_TEARDOWN(life)
{
	vt_wipe(self->control);
}

TEST_F(life, registration)
{
	struct vtpm_create c = { .label = "other" };
	struct engine e;

	ASSERT_EQ(0, vt_create(self->control, &c));
	EXPECT_EQ(0, vt_node_devt(&c, false));
	ASSERT_EQ(0, vt_info(self->control, c.uuid, &self->info));
	EXPECT_LE(self->info.state, VTPM_STATE_REGISTERING);
	EXPECT_EQ(VTPM_COND_ATTACHED, self->info.conditions);
	/* Half-done things cannot be power-cycled or released. */
	EXPECT_EQ(-EBUSY, vt_target(self->control, VTPM_IOC_RELEASE_NUMBER,
				    c.uuid));

	engine_init(&e, c.engine_fd);
	ASSERT_EQ(0, vt_serve_registration(self->control, &e, &c, &self->event));
	EXPECT_EQ(0, self->event.error);
	EXPECT_EQ(0, self->event.tpm_rc);
	EXPECT_EQ(0, self->event.sequence);
	EXPECT_EQ(c.tpm_number, self->event.tpm_number);
	EXPECT_EQ(TPM_CC_SELF_TEST, e.first_cc);
	EXPECT_LE(4, e.frames);
	EXPECT_TRUE(e.all_bootstrap);
	EXPECT_EQ(e.frames, e.last.seq);

	ASSERT_EQ(0, vt_info(self->control, c.uuid, &self->info));
	EXPECT_EQ(VTPM_STATE_LIVE, self->info.state);
	EXPECT_EQ(VTPM_COND_ATTACHED | VTPM_COND_REGISTERED,
		  self->info.conditions);
	EXPECT_EQ(e.frames, self->info.sequence);
	EXPECT_EQ(e.frames, self->info.commands);
	EXPECT_EQ(0, self->info.register_errno);
	EXPECT_EQ(0, self->info.bad_replies);
	EXPECT_EQ(makedev(c.dev_major, c.dev_minor), vt_node_devt(&c, false));
	EXPECT_EQ(makedev(c.devrm_major, c.devrm_minor), vt_node_devt(&c, true));
}

/* tpm0 is numbered apart from the others: it has a misc minor. */
TEST_F(life, first_number)
{
	struct vtpm_create c[2];
	int i;

	EXPECT_EQ(0, self->dev.tpm_number);
	memset(c, 0, sizeof(c));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, vt_make(self->control, &c[i]));
		EXPECT_EQ(i + 1, c[i].tpm_number);
		EXPECT_EQ(makedev(c[i].dev_major, c[i].dev_minor),
			  vt_node_devt(&c[i], false));
		EXPECT_EQ(makedev(c[i].devrm_major, c[i].devrm_minor),
			  vt_node_devt(&c[i], true));
	}
	EXPECT_EQ(makedev(self->dev.dev_major, self->dev.dev_minor),
		  vt_node_devt(&self->dev, false));
	EXPECT_EQ(makedev(self->dev.devrm_major, self->dev.devrm_minor),
		  vt_node_devt(&self->dev, true));
}

TEST_F(life, client_and_engine)
{
	struct vt_client client;
	struct engine e;
	int fd;

	ASSERT_GE(fd = vt_node(&self->dev, false, 0), 0);
	ASSERT_EQ(0, vt_client_echo(&client, fd, 0x1234));
	ASSERT_EQ(1, vt_readable(self->dev.engine_fd, VT_PATIENCE_MS));
	engine_init(&e, self->dev.engine_fd);
	EXPECT_EQ(0, engine_step(&e));
	ASSERT_TRUE(vt_client_done(&client, VT_PATIENCE_MS));
	EXPECT_TRUE(vt_client_echoed(&client));
	EXPECT_EQ(0, e.last.flags);
	EXPECT_EQ(0, e.last.locality);
	EXPECT_EQ(client.len, e.last.len);

	/* Through the resource manager, too. */
	close(fd);
	ASSERT_GE(fd = vt_node(&self->dev, true, 0), 0);
	ASSERT_EQ(0, engine_start(&e));
	EXPECT_EQ(0, vt_getcap(fd));
	engine_stop(&e);
}

/* The engine dies with a command, the next one gets it. */
TEST_F(life, detach_and_attach)
{
	struct vtpm_create wrong = self->dev;
	struct vt_client client;
	struct engine e;
	__u64 sequence, seq;
	int fd;

	ASSERT_GE(fd = vt_node(&self->dev, false, 0), 0);
	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &self->info));
	sequence = self->info.sequence;

	close(self->dev.engine_fd);
	ASSERT_EQ(0, vt_event(self->control, self->dev.uuid, 0, VT_PATIENCE_MS,
			      &self->event));
	EXPECT_EQ(VTPM_EVENT_ORPHANED, self->event.type);
	EXPECT_EQ(0, self->event.sequence);
	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &self->info));
	EXPECT_EQ(VTPM_STATE_DETACHED, self->info.state);
	EXPECT_EQ(VTPM_COND_ORPHANED | VTPM_COND_REGISTERED,
		  self->info.conditions);
	EXPECT_NE(0, vt_node_devt(&self->dev, false));
	EXPECT_EQ(-ENOTCONN, vt_target(self->control, VTPM_IOC_WAKE,
				       self->dev.uuid));

	/* A command parks, and wants an engine. */
	ASSERT_EQ(0, vt_client_echo(&client, fd, 77));
	ASSERT_EQ(0, vt_event(self->control, self->dev.uuid, 0, VT_PATIENCE_MS,
			      &self->event));
	EXPECT_EQ(VTPM_EVENT_WANTED, self->event.type);
	EXPECT_EQ(sequence + 1, self->event.sequence);
	EXPECT_TRUE(vt_client_waits(&client));
	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &self->info));
	EXPECT_EQ(VTPM_COND_ORPHANED | VTPM_COND_REGISTERED | VTPM_COND_WANTED |
		  VTPM_COND_BUSY, self->info.conditions);

	/* Only who has the state may attach. */
	wrong.power_id[VTPM_POWER_ID_SIZE - 1] ^= 1;
	EXPECT_EQ(-ESTALE, vt_attach(self->control, &wrong, 0, NULL));
	EXPECT_EQ(-ESTALE, vt_attach(self->control, &wrong,
				     VTPM_ATTACH_REPLACE, NULL));
	memset(wrong.power_id, 0, sizeof(wrong.power_id));
	EXPECT_EQ(-ESTALE, vt_attach(self->control, &wrong, 0, NULL));

	engine_init(&e, vt_attach(self->control, &self->dev, 0, &seq));
	ASSERT_GE(e.fd, 0);
	EXPECT_EQ(sequence + 1, seq);
	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &self->info));
	EXPECT_EQ(VTPM_STATE_LIVE, self->info.state);
	EXPECT_EQ(VTPM_COND_ATTACHED | VTPM_COND_REGISTERED | VTPM_COND_BUSY,
		  self->info.conditions);

	/* Nobody had it: it is fresh. */
	e.kind = ENGINE_CLOSE;
	EXPECT_EQ(-EBADF, engine_step(&e));
	EXPECT_EQ(sequence + 1, e.last.seq);
	EXPECT_EQ(0, e.last.flags);
	ASSERT_EQ(0, vt_event(self->control, self->dev.uuid,
			      VTPM_EVENT_ORPHANED, VT_PATIENCE_MS, NULL));
	ASSERT_EQ(0, vt_event(self->control, self->dev.uuid, 0, VT_PATIENCE_MS,
			      &self->event));
	EXPECT_EQ(VTPM_EVENT_WANTED, self->event.type);
	EXPECT_EQ(sequence + 1, self->event.sequence);
	EXPECT_TRUE(vt_client_waits(&client));

	/* Somebody had it: it is marked, twice if need be. */
	engine_init(&e, vt_attach(self->control, &self->dev, 0, &seq));
	e.kind = ENGINE_CLOSE;
	EXPECT_EQ(-EBADF, engine_step(&e));
	EXPECT_EQ(VTPM_FRAME_F_REDELIVERED, e.last.flags);
	engine_init(&e, vt_attach(self->control, &self->dev, 0, &seq));
	EXPECT_EQ(0, engine_step(&e));
	EXPECT_EQ(sequence + 1, e.last.seq);
	EXPECT_EQ(VTPM_FRAME_F_REDELIVERED, e.last.flags);
	ASSERT_TRUE(vt_client_done(&client, VT_PATIENCE_MS));
	EXPECT_TRUE(vt_client_echoed(&client));

	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &self->info));
	EXPECT_EQ(VTPM_COND_ATTACHED | VTPM_COND_REGISTERED,
		  self->info.conditions);
	EXPECT_EQ(2, self->info.redeliveries);
	EXPECT_EQ(4, self->info.attaches);
	EXPECT_EQ(0, self->info.aborts);
	EXPECT_EQ(0, self->info.timeouts);
	EXPECT_EQ(sequence + 1, self->info.sequence);
}

TEST_F(life, parked_for_too_long)
{
	struct vtpm_create c = { .detach_timeout_ms = 300 };
	struct vt_client client;
	struct engine e;
	int fd;

	ASSERT_EQ(0, vt_make(self->control, &c));
	close(c.engine_fd);
	ASSERT_GE(fd = vt_node(&c, false, 0), 0);
	ASSERT_EQ(0, vt_client_echo(&client, fd, 1));
	ASSERT_TRUE(vt_client_done(&client, VT_PATIENCE_MS));
	EXPECT_EQ(-ETIME, client.rc);
	EXPECT_LE(290, client.ms);
	ASSERT_EQ(0, vt_info(self->control, c.uuid, &self->info));
	EXPECT_EQ(1, self->info.timeouts);
	EXPECT_EQ(0, self->info.aborts);
	EXPECT_EQ(0, self->info.conditions & VTPM_COND_WANTED);

	/* Nobody waits any more, so nobody gets it. */
	engine_init(&e, vt_attach(self->control, &c, 0, NULL));
	ASSERT_GE(e.fd, 0);
	EXPECT_EQ(0, vt_readable(e.fd, VT_QUIET_MS));
	ASSERT_EQ(0, engine_start(&e));
	EXPECT_EQ(0, vt_getcap(fd));
	engine_stop(&e);
}

TEST_F(life, power_cycle)
{
	struct vtpm_power_cycle p = { .size = sizeof(p) };
	struct vtpm_create old = self->dev;
	struct vtpm_frame frame;
	struct vt_client client;
	struct engine e;
	__u8 cmd[VTPM_FRAME_MAX];
	__u64 seq;
	int fd;

	ASSERT_GE(fd = vt_node(&self->dev, false, 0), 0);
	ASSERT_EQ(0, vt_client_echo(&client, fd, 1));
	ASSERT_EQ(1, vt_readable(self->dev.engine_fd, VT_PATIENCE_MS));
	ASSERT_LT(0, engine_fetch(self->dev.engine_fd, &frame, cmd));

	memcpy(p.uuid, self->dev.uuid, sizeof(p.uuid));
	ASSERT_EQ(0, vt_ioctl(self->control, VTPM_IOC_POWER_CYCLE, &p));
	EXPECT_NE(0, memcmp(p.power_id, old.power_id, VTPM_POWER_ID_SIZE));
	ASSERT_TRUE(vt_client_done(&client, VT_PATIENCE_MS));
	EXPECT_EQ(-EPIPE, client.rc);
	EXPECT_EQ(-EPIPE, engine_fetch(self->dev.engine_fd, &frame, cmd));
	EXPECT_EQ(-EPIPE, engine_reply(self->dev.engine_fd, frame.seq, cmd, 10));
	EXPECT_EQ(POLLHUP, vt_poll(self->dev.engine_fd, 0));
	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &self->info));
	EXPECT_EQ(VTPM_STATE_DETACHED, self->info.state);
	EXPECT_EQ(VTPM_COND_REGISTERED, self->info.conditions);
	EXPECT_EQ(self->dev.tpm_number, self->info.tpm_number);

	/* Fenced, not orphaned: its close is no news. */
	close(self->dev.engine_fd);
	EXPECT_EQ(-ETIMEDOUT, vt_event(self->control, NULL, 0, VT_QUIET_MS,
				       &self->event));

	EXPECT_EQ(-ESTALE, vt_attach(self->control, &old, 0, NULL));
	memcpy(self->dev.power_id, p.power_id, sizeof(p.power_id));
	engine_init(&e, vt_attach(self->control, &self->dev, 0, &seq));
	ASSERT_GE(e.fd, 0);
	/* The command that failed is not delivered again; the file still works. */
	EXPECT_EQ(0, vt_readable(e.fd, VT_QUIET_MS));
	ASSERT_EQ(0, engine_start(&e));
	EXPECT_EQ(0, vt_getcap(fd));
	engine_stop(&e);
	EXPECT_EQ(seq + 1, e.last.seq);
	EXPECT_EQ(0, e.last.flags);
}

TEST_F(life, power_cycle_refused)
{
	struct vtpm_power_cycle p = { .size = sizeof(p) };
	struct vtpm_create c = {};

	ASSERT_EQ(0, vt_create(self->control, &c));
	memcpy(p.uuid, c.uuid, sizeof(p.uuid));
	EXPECT_EQ(-EBUSY, vt_ioctl(self->control, VTPM_IOC_POWER_CYCLE, &p));
	ASSERT_EQ(0, vt_target(self->control, VTPM_IOC_DESTROY, c.uuid));
	EXPECT_EQ(-ESHUTDOWN, vt_ioctl(self->control, VTPM_IOC_POWER_CYCLE, &p));
	EXPECT_EQ(-ESHUTDOWN, vt_target(self->control, VTPM_IOC_DESTROY, c.uuid));
	EXPECT_EQ(-ESHUTDOWN, vt_attach(self->control, &c, 0, NULL));
	EXPECT_EQ(-ESHUTDOWN, vt_attach(self->control, &c, VTPM_ATTACH_REPLACE,
					NULL));
	EXPECT_EQ(-ENOTCONN, vt_target(self->control, VTPM_IOC_WAKE, c.uuid));
	EXPECT_EQ(-ENODATA, vt_target(self->control, VTPM_IOC_ABORT, c.uuid));
}

static bool sysfs_says(const struct vtpm_create *c, const char *name,
		       const char *expected)
{
	char path[96], text[128];

	snprintf(path, sizeof(path), "/sys/class/tpm/tpm%u/device/%s",
		 c->tpm_number, name);
	if (vt_read_text(path, text, sizeof(text)))
		return false;
	if (!strcmp(text, expected))
		return true;
	ksft_print_msg("%s: '%s' instead of '%s'\n", path, text, expected);
	return false;
}

TEST_F(life, sysfs)
{
	const __u8 *u = self->dev.uuid;
	char uuid[37];

	snprintf(uuid, sizeof(uuid),
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		 u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9],
		 u[10], u[11], u[12], u[13], u[14], u[15]);
	EXPECT_TRUE(sysfs_says(&self->dev, "uuid", uuid));
	EXPECT_TRUE(sysfs_says(&self->dev, "label", LABEL));
	EXPECT_TRUE(sysfs_says(&self->dev, "state", "live"));
	close(self->dev.engine_fd);
	EXPECT_TRUE(sysfs_says(&self->dev, "state", "detached"));
}

TEST_HARNESS_MAIN
