// SPDX-License-Identifier: GPL-2.0-only
/*
 * What all ioctls of /dev/vtpm and of the engine fd have in common: sizes, flags,
 * addresses, wrong files.
 */
#include <sys/ioctl.h>
#include <sys/mman.h>
#include "kselftest_harness.h"

#include "vt.h"

#define GUARD	0xa5

/* Every ioctl, with the offset of its flags and the part that a caller must have. */
static const struct call {
	const char *name;
	unsigned long cmd;
	size_t size;
	bool engine;	/* on the engine fd */
	bool by_uuid;	/* uuid at offset 8, -ENOENT if it is unknown */
} calls[] = {
	{ "VERSION", VTPM_IOC_VERSION, sizeof(struct vtpm_version), false, false },
	{ "CREATE", VTPM_IOC_CREATE, sizeof(struct vtpm_create), false, false },
	{ "ATTACH", VTPM_IOC_ATTACH, sizeof(struct vtpm_attach), false, true },
	{ "DESTROY", VTPM_IOC_DESTROY, sizeof(struct vtpm_target), false, true },
	{ "INFO", VTPM_IOC_INFO, sizeof(struct vtpm_info), false, true },
	{ "LIST", VTPM_IOC_LIST, sizeof(struct vtpm_list), false, false },
	{ "ABORT", VTPM_IOC_ABORT, sizeof(struct vtpm_target), false, true },
	{ "POWER_CYCLE", VTPM_IOC_POWER_CYCLE, sizeof(struct vtpm_power_cycle),
	  false, true },
	{ "RELEASE_NUMBER", VTPM_IOC_RELEASE_NUMBER, sizeof(struct vtpm_target),
	  false, true },
	{ "WAKE", VTPM_IOC_WAKE, sizeof(struct vtpm_target), false, true },
	{ "XCHG", VTPM_IOC_XCHG, sizeof(struct vtpm_xchg), true, false },
};

#define for_each_call(c) \
	for (c = calls; c < calls + ARRAY_SIZE(calls); c++)

FIXTURE(ioctl) {
	int control;
	struct vtpm_create dev;	/* not registered: its first command waits */
	__u8 *page;		/* one page, and behind it one without access */
};

FIXTURE_SETUP(ioctl)
{
	self->control = vt_setup();
	ASSERT_GE(self->control, 0);
	ASSERT_EQ(0, vt_create(self->control, &self->dev));
	ASSERT_EQ(0, vt_nonblock(self->dev.engine_fd, true));
	self->page = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)self->page);
	ASSERT_EQ(0, mprotect(self->page + 2 * 4096, 4096, PROT_NONE));
}

FIXTURE_TEARDOWN(ioctl)
{
	vt_wipe(self->control);
}

static int call_fd(FIXTURE_DATA(ioctl) *self, const struct call *c)
{
	return c->engine ? self->dev.engine_fd : self->control;
}

/* A good argument of VERSION. */
static int version(int fd, __u8 *arg, __u32 size)
{
	memcpy(arg, &size, sizeof(size));
	return vt_ioctl(fd, VTPM_IOC_VERSION, arg);
}

TEST_F(ioctl, version)
{
	struct vtpm_version v = { .size = sizeof(v), .features = ~0U };

	ASSERT_EQ(0, vt_ioctl(self->control, VTPM_IOC_VERSION, &v));
	EXPECT_EQ(sizeof(v), v.size);
	EXPECT_EQ(VTPM_ABI_MAJOR, v.abi_major);
	EXPECT_EQ(VTPM_ABI_MINOR, v.abi_minor);
	EXPECT_EQ(0, v.features);
	EXPECT_NE(0, v.module_version[0]);
	EXPECT_EQ(0, v.module_version[sizeof(v.module_version) - 1]);
}

TEST_F(ioctl, size_too_small)
{
	const struct call *c;
	__u8 arg[512];
	__u32 size;

	for_each_call(c) {
		for (size = 0; size < 8; size++) {
			memset(arg, 0, sizeof(arg));
			memcpy(arg, &size, sizeof(size));
			EXPECT_EQ(-EINVAL, vt_ioctl(call_fd(self, c), c->cmd, arg))
				TH_LOG("%s with size %u", c->name, size);
		}
	}
	EXPECT_EQ(1, vt_total(self->control));
}

/* A caller that was compiled with a structure of fewer fields. */
TEST_F(ioctl, size_shorter)
{
	__u8 arg[512];
	struct vtpm_info *info = (void *)arg;
	struct vtpm_create *create = (void *)arg;
	size_t i, size;

	memset(arg, GUARD, sizeof(arg));
	ASSERT_EQ(0, version(self->control, arg, 12));
	for (i = 12; i < sizeof(arg); i++)
		ASSERT_EQ(GUARD, arg[i]) TH_LOG("byte %zu written", i);

	size = offsetof(struct vtpm_info, commands);
	memset(arg, GUARD, sizeof(arg));
	info->size = size;
	info->flags = 0;
	memcpy(info->uuid, self->dev.uuid, sizeof(info->uuid));
	ASSERT_EQ(0, vt_ioctl(self->control, VTPM_IOC_INFO, arg));
	EXPECT_EQ(size, info->size);
	EXPECT_EQ(self->dev.tpm_number, info->tpm_number);
	for (i = size; i < sizeof(arg); i++)
		ASSERT_EQ(GUARD, arg[i]) TH_LOG("byte %zu written", i);

	size = offsetof(struct vtpm_create, reserved);
	memset(arg, GUARD, sizeof(arg));
	memset(arg, 0, size);
	create->size = size;
	vt_uuid(create->uuid);
	ASSERT_EQ(0, vt_ioctl(self->control, VTPM_IOC_CREATE, arg));
	EXPECT_EQ(size, create->size);
	EXPECT_LE(0, create->engine_fd);
	for (i = size; i < sizeof(arg); i++)
		ASSERT_EQ(GUARD, arg[i]) TH_LOG("byte %zu written", i);
}

/* A caller that was compiled with a structure of more fields. */
TEST_F(ioctl, size_longer)
{
	const struct call *c;
	struct vtpm_create *create = (void *)self->page;
	__u32 size = 4096;

	/* Zero in what the kernel does not know: accepted, and left alone. */
	memset(self->page, 0, 4096);
	EXPECT_EQ(0, version(self->control, self->page, size));
	EXPECT_EQ(size, *(__u32 *)self->page);

	memset(self->page, 0, 4096);
	create->size = size;
	vt_uuid(create->uuid);
	EXPECT_EQ(0, vt_ioctl(self->control, VTPM_IOC_CREATE, create));

	/* The unknown uuid, not the size, must be what -ENOENT is about. */
	for_each_call(c) {
		if (!c->by_uuid)
			continue;
		memset(self->page, 0, 4096);
		memcpy(self->page, &size, sizeof(size));
		EXPECT_EQ(-ENOENT, vt_ioctl(self->control, c->cmd, self->page))
			TH_LOG("%s", c->name);
	}

	/* One byte that is not zero, at the first and at the last place. */
	for_each_call(c) {
		memset(self->page, 0, 4096);
		memcpy(self->page, &size, sizeof(size));
		self->page[c->size] = 1;
		EXPECT_EQ(-E2BIG, vt_ioctl(call_fd(self, c), c->cmd, self->page))
			TH_LOG("%s, first byte behind", c->name);
		self->page[c->size] = 0;
		self->page[4095] = 1;
		EXPECT_EQ(-E2BIG, vt_ioctl(call_fd(self, c), c->cmd, self->page))
			TH_LOG("%s, last byte", c->name);
	}

	/* Not even a page of zeroes is without end. */
	for_each_call(c) {
		memset(self->page, 0, 2 * 4096);
		size = 4097;
		memcpy(self->page, &size, sizeof(size));
		EXPECT_EQ(-E2BIG, vt_ioctl(call_fd(self, c), c->cmd, self->page))
			TH_LOG("%s with size 4097", c->name);
		size = ~0U;
		memcpy(self->page, &size, sizeof(size));
		EXPECT_EQ(-E2BIG, vt_ioctl(call_fd(self, c), c->cmd, self->page))
			TH_LOG("%s with size ~0", c->name);
	}
	EXPECT_EQ(2, vt_total(self->control));
}

/* ioctl numbers made from another version of a structure have another size. */
TEST_F(ioctl, size_in_number)
{
	struct vtpm_version v = { .size = sizeof(v) };
	unsigned long cmd = _IOC(_IOC_READ | _IOC_WRITE, VTPM_IOC_MAGIC,
				 _IOC_NR(VTPM_IOC_VERSION), 12);

	EXPECT_EQ(0, vt_ioctl(self->control, cmd, &v));
	EXPECT_EQ(VTPM_ABI_MAJOR, v.abi_major);
}

TEST_F(ioctl, unknown_flags)
{
	struct vtpm_attach attach;
	const struct call *c;
	__u8 arg[512];
	__u32 size, flag;
	int bit;

	for_each_call(c) {
		/* VERSION has no flags; what it has there is for the kernel. */
		if (c->cmd == VTPM_IOC_VERSION)
			continue;
		for (bit = 0; bit < 32; bit++) {
			if (bit == 0 && (c->cmd == VTPM_IOC_ATTACH ||
					 c->cmd == VTPM_IOC_XCHG ||
					 c->cmd == VTPM_IOC_RELEASE_NUMBER))
				continue;
			memset(arg, 0, sizeof(arg));
			size = c->size;
			flag = 1U << bit;
			memcpy(arg, &size, sizeof(size));
			memcpy(arg + 4, &flag, sizeof(flag));
			if (c->cmd == VTPM_IOC_CREATE)
				vt_uuid(arg + 8);
			else if (c->by_uuid)
				memcpy(arg + 8, self->dev.uuid, VTPM_UUID_SIZE);
			EXPECT_EQ(-EINVAL, vt_ioctl(call_fd(self, c), c->cmd, arg))
				TH_LOG("%s with flag %#x", c->name, flag);
		}
	}

	/* Known and unknown together. */
	memset(&attach, 0, sizeof(attach));
	attach.size = sizeof(attach);
	attach.flags = VTPM_ATTACH_REPLACE | 2;
	memcpy(attach.uuid, self->dev.uuid, sizeof(attach.uuid));
	memcpy(attach.power_id, self->dev.power_id, sizeof(attach.power_id));
	EXPECT_EQ(-EINVAL, vt_ioctl(self->control, VTPM_IOC_ATTACH, &attach));
	EXPECT_EQ(1, vt_total(self->control));
}

TEST_F(ioctl, reserved)
{
	struct vtpm_create create = { .size = sizeof(create) };
	struct vtpm_attach attach = { .size = sizeof(attach) };
	struct vtpm_list list = { .size = sizeof(list) };
	struct vtpm_xchg xchg = { .size = sizeof(xchg) };

	create.reserved[0] = 1;
	EXPECT_EQ(-EINVAL, vt_create(self->control, &create));
	create.reserved[0] = 0;
	create.reserved[1] = 0x80000000;
	EXPECT_EQ(-EINVAL, vt_create(self->control, &create));

	memcpy(attach.uuid, self->dev.uuid, sizeof(attach.uuid));
	memcpy(attach.power_id, self->dev.power_id, sizeof(attach.power_id));
	attach.flags = VTPM_ATTACH_REPLACE;
	attach.reserved = 1;
	EXPECT_EQ(-EINVAL, vt_ioctl(self->control, VTPM_IOC_ATTACH, &attach));

	list.entry_size = sizeof(struct vtpm_info);
	list.reserved = 1;
	EXPECT_EQ(-EINVAL, vt_ioctl(self->control, VTPM_IOC_LIST, &list));

	xchg.flags = VTPM_XCHG_NOWAIT;
	xchg.buf = (unsigned long)self->page;
	xchg.buf_len = VTPM_FRAME_MAX;
	xchg.reserved = 1;
	EXPECT_EQ(-EINVAL,
		  vt_ioctl(self->dev.engine_fd, VTPM_IOC_XCHG, &xchg));
	EXPECT_EQ(1, vt_total(self->control));
}

TEST_F(ioctl, bad_pointer)
{
	void *bad[] = {
		NULL, (void *)1, self->page + 2 * 4096, self->page + 2 * 4096 - 4,
		(void *)0x800000000000UL, (void *)0xffffffff81000000UL,
		(void *)~3UL,
	};
	const struct call *c;
	void **p;
	__u32 size;

	for_each_call(c) {
		/* The size lies in front of the page without access. */
		size = c->size;
		memcpy(self->page + 2 * 4096 - 4, &size, sizeof(size));
		for (p = bad; p < bad + ARRAY_SIZE(bad); p++)
			EXPECT_EQ(-EFAULT,
				  vt_ioctl(call_fd(self, c), c->cmd, *p))
				TH_LOG("%s at %p", c->name, *p);
	}
	EXPECT_EQ(1, vt_total(self->control));
}

/* Results that cannot be written: as if the call had never been. */
TEST_F(ioctl, read_only_argument)
{
	struct vtpm_create *create = (void *)self->page;
	struct vtpm_attach *attach = (void *)self->page;
	struct vtpm_event event;
	struct vtpm_info info;
	int fds = vt_count_fds();

	vt_drain(self->control);
	create->size = sizeof(*create);
	vt_uuid(create->uuid);
	ASSERT_EQ(0, mprotect(self->page, 4096, PROT_READ));
	EXPECT_EQ(-EFAULT, vt_ioctl(self->control, VTPM_IOC_CREATE, create));
	EXPECT_EQ(1, vt_total(self->control));
	EXPECT_EQ(fds, vt_count_fds());

	ASSERT_EQ(0, mprotect(self->page, 4096, PROT_READ | PROT_WRITE));
	memset(self->page, 0, 4096);
	attach->size = sizeof(*attach);
	attach->flags = VTPM_ATTACH_REPLACE;
	memcpy(attach->uuid, self->dev.uuid, sizeof(attach->uuid));
	memcpy(attach->power_id, self->dev.power_id, sizeof(attach->power_id));
	ASSERT_EQ(0, mprotect(self->page, 4096, PROT_READ));
	EXPECT_EQ(-EFAULT, vt_ioctl(self->control, VTPM_IOC_ATTACH, attach));
	EXPECT_EQ(fds, vt_count_fds());
	ASSERT_EQ(0, vt_info(self->control, self->dev.uuid, &info));
	EXPECT_EQ(1, info.attaches);
	EXPECT_EQ(0, vt_poll(self->dev.engine_fd, 0) & POLLHUP);
	EXPECT_EQ(-ETIMEDOUT, vt_event(self->control, NULL, 0, 50, &event))
		TH_LOG("event %u of a call that failed", event.type);
}

TEST_F(ioctl, wrong_file)
{
	struct vtpm_version v = { .size = sizeof(v) };
	const struct call *c;
	__u8 arg[512];
	__u32 size;
	int nr;

	for_each_call(c) {
		memset(arg, 0, sizeof(arg));
		size = c->size;
		memcpy(arg, &size, sizeof(size));
		EXPECT_EQ(-ENOTTY, vt_ioctl(c->engine ? self->control :
					    self->dev.engine_fd, c->cmd, arg))
			TH_LOG("%s", c->name);
	}
	for (nr = 0; nr < 256; nr++) {
		unsigned long cmd = _IOC(_IOC_READ | _IOC_WRITE, VTPM_IOC_MAGIC,
					 nr, sizeof(v));

		if (nr >= 0x40 && nr <= 0x49)
			continue;
		EXPECT_EQ(-ENOTTY, vt_ioctl(self->control, cmd, &v))
			TH_LOG("nr %#x", nr);
		if (nr == 0x60)
			continue;
		EXPECT_EQ(-ENOTTY, vt_ioctl(self->dev.engine_fd, cmd, &v))
			TH_LOG("nr %#x", nr);
	}
	/* The right number with another magic. */
	EXPECT_EQ(-ENOTTY, vt_ioctl(self->control,
				    _IOC(_IOC_READ | _IOC_WRITE, 0xA2, 0x40,
					 sizeof(v)), &v));
}

TEST_F(ioctl, unknown_uuid)
{
	const struct call *c;
	__u8 arg[512];
	__u32 size;

	for_each_call(c) {
		if (!c->by_uuid)
			continue;
		memset(arg, 0, sizeof(arg));
		size = c->size;
		memcpy(arg, &size, sizeof(size));
		EXPECT_EQ(-ENOENT, vt_ioctl(self->control, c->cmd, arg))
			TH_LOG("%s, nil", c->name);
		memcpy(arg + 8, self->dev.uuid, VTPM_UUID_SIZE);
		arg[8 + VTPM_UUID_SIZE - 1] ^= 1;
		EXPECT_EQ(-ENOENT, vt_ioctl(self->control, c->cmd, arg))
			TH_LOG("%s", c->name);
	}
}

TEST_HARNESS_MAIN
