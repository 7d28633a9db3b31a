// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unloading: refused while something is in use, clean when it is done.  Needs
 * VTPM_MODULE, the path of vtpm.ko, which is loaded again at the end.
 */
#include <fcntl.h>
#include "kselftest_harness.h"

#include "vt.h"

FIXTURE(module) {
	struct vtpm_create dev;
	int control;
};

FIXTURE_SETUP(module)
{
	self->control = vt_setup();
	ASSERT_GE(self->control, 0);
}

FIXTURE_TEARDOWN(module)
{
	int fd = vt_open();

	if (fd == -ENOENT) {
		vt_module_load();
		return;
	}
	vt_wipe(fd);
}

TEST_F(module, refused_while_open)
{
	EXPECT_EQ(-EWOULDBLOCK, vt_module_unload());
	close(self->control);
	EXPECT_EQ(0, vt_module_unload_soon());
	EXPECT_NE(0, access("/dev/vtpm", F_OK));
}

/* A device without any open file is in use: it may have to serve a client. */
TEST_F(module, refused_while_device)
{
	ASSERT_EQ(0, vt_make(self->control, &self->dev));
	close(self->dev.engine_fd);
	close(self->control);
	EXPECT_EQ(-EWOULDBLOCK, vt_module_unload());
	ASSERT_GE(self->control = vt_open(), 0);
	ASSERT_EQ(0, vt_target(self->control, VTPM_IOC_DESTROY, self->dev.uuid));
	ASSERT_EQ(0, vt_event(self->control, self->dev.uuid,
			      VTPM_EVENT_DESTROYED, VT_PATIENCE_MS, NULL));
	close(self->control);
	EXPECT_EQ(0, vt_module_unload_soon());
}

TEST_F(module, refused_while_registering)
{
	ASSERT_EQ(0, vt_create(self->control, &self->dev));
	close(self->control);
	EXPECT_EQ(-EWOULDBLOCK, vt_module_unload());
	close(self->dev.engine_fd);
	EXPECT_EQ(-EWOULDBLOCK, vt_module_unload());
}

/* The engine fd of a dead device is a file of the module, too. */
TEST_F(module, refused_while_engine)
{
	ASSERT_EQ(0, vt_make(self->control, &self->dev));
	ASSERT_EQ(0, vt_target(self->control, VTPM_IOC_DESTROY, self->dev.uuid));
	ASSERT_EQ(0, vt_release(self->control, self->dev.uuid));
	close(self->control);
	usleep(VT_QUIET_MS * 1000);
	EXPECT_EQ(-EWOULDBLOCK, vt_module_unload());
	close(self->dev.engine_fd);
	EXPECT_EQ(0, vt_module_unload_soon());
}

/* Numbers that are still held go with the module; so does a failed device. */
TEST_F(module, frees_numbers)
{
	struct vtpm_create c[3];
	struct vtpm_event event;
	struct engine e;
	int i;

	memset(c, 0, sizeof(c));
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, vt_create(self->control, &c[i]));
	engine_init(&e, c[0].engine_fd);
	e.kind = ENGINE_ERROR;
	e.rc = TPM_RC_FAILURE;
	ASSERT_EQ(0, vt_serve_registration(self->control, &e, &c[0], &event));
	EXPECT_EQ(ENODEV, event.error);
	for (i = 1; i < 3; i++) {
		ASSERT_EQ(0, vt_target(self->control, VTPM_IOC_DESTROY,
				       c[i].uuid));
		ASSERT_EQ(0, vt_event(self->control, c[i].uuid,
				      VTPM_EVENT_DESTROYED, VT_PATIENCE_MS,
				      NULL));
	}
	for (i = 0; i < 3; i++)
		close(c[i].engine_fd);
	close(self->control);
	ASSERT_EQ(0, vt_module_unload_soon());
	EXPECT_EQ(0, vt_entries("/sys/bus/platform/devices", "vtpm"));
	EXPECT_EQ(0, vt_entries("/sys/class/tpm", "tpm"));
	EXPECT_EQ(0, vt_entries("/sys/module", "vtpm"));
	EXPECT_EQ(0, vt_entries("/dev", "tpm"));
	EXPECT_EQ(0, vt_entries("/dev", "vtpm"));

	ASSERT_EQ(0, vt_module_load());
	ASSERT_GE(self->control = vt_open(), 0);
	ASSERT_EQ(0, vt_create(self->control, &self->dev));
	EXPECT_EQ(0, self->dev.tpm_number);
}

/* A client's file on a dead device outlives the module. */
TEST_F(module, client_outlives_module)
{
	struct vtpm_create c = {};
	__u8 cmd[64];
	size_t len = vt_cmd_getcap(cmd);
	int fd[2], i;

	ASSERT_EQ(0, vt_make(self->control, &self->dev));
	for (i = 0; i < 2; i++)
		ASSERT_GE(fd[i] = vt_node(&self->dev, i, 0), 0);
	ASSERT_EQ(0, vt_target(self->control, VTPM_IOC_DESTROY, self->dev.uuid));
	ASSERT_EQ(0, vt_release(self->control, self->dev.uuid));
	close(self->dev.engine_fd);
	close(self->control);
	ASSERT_EQ(0, vt_module_unload_soon());
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(-1, write(fd[i], cmd, len));
		EXPECT_EQ(EPIPE, errno);
	}
	close(fd[0]);
	ASSERT_EQ(0, vt_module_load());
	ASSERT_GE(self->control = vt_open(), 0);
	/* Its number is not free while the file is open. */
	ASSERT_EQ(0, vt_create(self->control, &c));
	EXPECT_NE(self->dev.tpm_number, c.tpm_number);
	close(fd[1]);
	memset(&c, 0, sizeof(c));
	ASSERT_EQ(0, vt_create(self->control, &c));
	EXPECT_EQ(self->dev.tpm_number, c.tpm_number);
}

TEST_HARNESS_MAIN
