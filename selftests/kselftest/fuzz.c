// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random calls on /dev/vtpm, on engine fds and on nodes, from two threads, for a few
 * seconds.  The kernel must stay clean, which the runner looks for in its log, and a
 * device must work afterwards.
 *
 * From the environment:
 *   FUZZ_SEED	   call n of thread t is the same whenever this is, whatever the calls
 *		   before it came to; how the threads interleave is not
 *   FUZZ_THREADS  1 leaves the kernel's own workers to interleave with
 *   FUZZ_CALLS	   of each thread, at most
 *   FUZZ_SECONDS  at most
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include "kselftest_harness.h"

#include "vt.h"

#define THREADS		2
#define SLOTS		8	/* engine fds of a thread */
#define UUIDS		6	/* few, so that they are met again */
#define PAGE		4096
#define ARENA		(16 * PAGE)
#define MAX_DEVICES	16
#define TIMEOUT		120	/* of the harness: the calls, and a wipe of what they left */
#define LONGEST		90	/* seconds of calls */
#define HASTEN_MS	10

/* Threads inside a close() that waits for a command. */
static atomic_int closing;

/**
 * struct fuzzer - one thread
 * @first_seed: the seed of its first call
 * @seed: of the call that runs
 * @end: when it ends
 * @most: calls it makes at most, 0 for no limit
 * @control: its control file
 * @engine: engine fds, -1 for none
 * @power_id: last one seen for each uuid
 * @arena: memory for arguments; a page without access is behind it
 * @calls: made so far
 * @done: calls that did not fail
 */
struct fuzzer {
	pthread_t thread;
	unsigned int first_seed;
	unsigned int seed;
	long end;
	unsigned long most;
	int control;
	int engine[SLOTS];
	__u8 power_id[UUIDS][VTPM_POWER_ID_SIZE];
	__u8 *arena;
	unsigned long calls;
	unsigned long done;
};

static unsigned int pick(struct fuzzer *f, unsigned int n)
{
	return rand_r(&f->seed) % n;
}

static void scramble(struct fuzzer *f, void *buf, size_t len)
{
	__u8 *p = buf;

	while (len--)
		*p++ = rand_r(&f->seed) >> 7;
}

/* An address for @len bytes: mostly good, sometimes at the edge or wrong. */
static void *address(struct fuzzer *f, size_t len)
{
	if (len > ARENA)
		len = ARENA;
	switch (pick(f, 16)) {
	case 0:
		return NULL;
	case 1:
		return f->arena + ARENA;
	case 2:
		return f->arena + ARENA - pick(f, len + 1);
	case 3:
		return (void *)0xffff888000000000UL;
	case 4:
		return f->arena + pick(f, 64);
	default:
		return f->arena + pick(f, 8) * PAGE;
	}
}

static unsigned int uuid_of(struct fuzzer *f, __u8 *uuid)
{
	unsigned int n = pick(f, UUIDS);

	memset(uuid, 0x11 * (n + 1), VTPM_UUID_SIZE);
	return n;
}

static int *slot(struct fuzzer *f)
{
	return &f->engine[pick(f, SLOTS)];
}

static void keep(struct fuzzer *f, int fd)
{
	int *s = slot(f);

	if (*s >= 0)
		close(*s);
	*s = fd;
	vt_nonblock(fd, true);
}

static size_t some_size(struct fuzzer *f, size_t good)
{
	switch (pick(f, 12)) {
	case 0:
		return pick(f, good + 1);
	case 1:
		return good + pick(f, 64);
	case 2:
		return rand_r(&f->seed);
	default:
		return good;
	}
}

static __u32 some_flags(struct fuzzer *f)
{
	switch (pick(f, 8)) {
	case 0:
		return rand_r(&f->seed);
	case 1:
	case 2:
		return 1;
	default:
		return 0;
	}
}

/* An ioctl whose argument is now and then at a bad address, or cut by one. */
static int call(struct fuzzer *f, int fd, unsigned long cmd, void *arg, size_t len)
{
	__u8 *end = f->arena + ARENA;
	__u8 *there = address(f, len);
	size_t room = 0;
	int rc;

	if (pick(f, 12))
		return vt_ioctl(fd, cmd, arg);
	if (there >= f->arena && there < end)
		room = (size_t)(end - there) < len ? (size_t)(end - there) : len;
	memcpy(there, arg, room);
	rc = vt_ioctl(fd, cmd, there);
	/* An engine fd, perhaps, that somebody must close. */
	if (!rc)
		memcpy(arg, there, room);
	return rc;
}

static int fuzz_create(struct fuzzer *f)
{
	struct vtpm_create c = {};
	unsigned int n;
	int rc;

	c.size = some_size(f, sizeof(c));
	c.flags = pick(f, 8) ? 0 : some_flags(f);
	n = uuid_of(f, c.uuid);
	if (!pick(f, 4))
		scramble(f, c.label, pick(f, sizeof(c.label)));
	if (!pick(f, 2)) {
		c.command_timeout_ms = pick(f, 50);
		c.detach_timeout_ms = pick(f, 50);
	}
	rc = call(f, f->control, VTPM_IOC_CREATE, &c, sizeof(c));
	if (!rc) {
		keep(f, c.engine_fd);
		memcpy(f->power_id[n], c.power_id, VTPM_POWER_ID_SIZE);
	}
	return rc;
}

static int fuzz_attach(struct fuzzer *f)
{
	struct vtpm_attach a = {};
	unsigned int n;
	int rc;

	a.size = some_size(f, sizeof(a));
	a.flags = some_flags(f);
	n = uuid_of(f, a.uuid);
	memcpy(a.power_id, f->power_id[n], sizeof(a.power_id));
	rc = call(f, f->control, VTPM_IOC_ATTACH, &a, sizeof(a));
	if (!rc)
		keep(f, a.engine_fd);
	return rc;
}

static int fuzz_list(struct fuzzer *f)
{
	struct vtpm_list l = {};

	l.size = some_size(f, sizeof(l));
	l.flags = pick(f, 8) ? 0 : some_flags(f);
	l.entry_size = some_size(f, sizeof(struct vtpm_info));
	/* So many entries of at most a page fit into the arena. */
	l.count = pick(f, 8);
	l.entries = (unsigned long)address(f, l.entry_size);
	l.cursor = pick(f, 4) ? pick(f, 100) : (__u64)rand_r(&f->seed) << 33;
	return call(f, f->control, VTPM_IOC_LIST, &l, sizeof(l));
}

static int fuzz_xchg(struct fuzzer *f)
{
	struct vtpm_xchg x = {};

	x.size = some_size(f, sizeof(x));
	x.flags = some_flags(f);
	x.reply_len = pick(f, 2) ? 0 : some_size(f, 32);
	x.reply = (unsigned long)address(f, x.reply_len % ARENA);
	x.reply_seq = pick(f, 40);
	x.buf_len = some_size(f, VTPM_FRAME_MAX);
	x.buf = (unsigned long)address(f, VTPM_FRAME_MAX);
	return call(f, *slot(f), VTPM_IOC_XCHG, &x, sizeof(x));
}

/* A call with no idea of what it is for.  No argument holds an address. */
static int fuzz_blind(struct fuzzer *f)
{
	unsigned int nr = pick(f, 2) ? 0x40 + pick(f, 12) : pick(f, 256);
	__u32 *arg = address(f, 512);
	int rc;

	if (nr == _IOC_NR(VTPM_IOC_LIST) || nr == _IOC_NR(VTPM_IOC_XCHG) ||
	    nr == _IOC_NR(VTPM_IOC_CREATE) || nr == _IOC_NR(VTPM_IOC_ATTACH))
		nr = _IOC_NR(VTPM_IOC_INFO);
	if ((__u8 *)arg >= f->arena && (__u8 *)arg < f->arena + ARENA - 512) {
		scramble(f, arg, 512);
		arg[0] = some_size(f, pick(f, 300));
		arg[1] = some_flags(f);
	}
	rc = vt_ioctl(pick(f, 2) ? f->control : *slot(f),
		      _IOC(pick(f, 4), VTPM_IOC_MAGIC, nr, pick(f, 512)), arg);
	return rc;
}

static int fuzz_target(struct fuzzer *f)
{
	static const unsigned long cmds[] = {
		VTPM_IOC_DESTROY, VTPM_IOC_RELEASE_NUMBER, VTPM_IOC_ABORT,
		VTPM_IOC_WAKE, VTPM_IOC_RELEASE_NUMBER,
	};
	struct vtpm_power_cycle p = { .size = sizeof(p) };
	struct vtpm_info info;
	__u8 uuid[VTPM_UUID_SIZE];
	unsigned int n = uuid_of(f, uuid);
	int rc;

	switch (pick(f, 8)) {
	case 0:
		memcpy(p.uuid, uuid, sizeof(uuid));
		rc = call(f, f->control, VTPM_IOC_POWER_CYCLE, &p, sizeof(p));
		if (!rc)
			memcpy(f->power_id[n], p.power_id, sizeof(p.power_id));
		return rc;
	case 1:
		return vt_info(f->control, uuid, &info);
	default:
		return vt_target(f->control, cmds[pick(f, 5)], uuid);
	}
}

static int fuzz_read(struct fuzzer *f)
{
	int fd = pick(f, 4) ? *slot(f) : f->control;
	size_t len = some_size(f, VTPM_FRAME_MAX + 16) % ARENA;
	struct iovec iov[2] = {
		{ address(f, len), pick(f, 32) }, { address(f, len), len },
	};
	ssize_t n = readv(fd, iov, 2);

	return n < 0 ? -errno : 0;
}

/* A reply, more or less. */
static int fuzz_write(struct fuzzer *f)
{
	struct vtpm_frame frame = { .seq = pick(f, 40) };
	size_t len = some_size(f, TPM_HEADER + pick(f, 32)) % (ARENA / 2);
	__u8 *bytes = f->arena + pick(f, 4) * PAGE;
	struct iovec iov[2] = { { &frame, sizeof(frame) }, { bytes, len } };
	ssize_t n;

	scramble(f, bytes, 64);
	if (pick(f, 4))
		tpm_header(bytes, pick(f, 3) ? 0 : TPM_RC_FAILURE, len);
	frame.len = some_size(f, len);
	if (!pick(f, 8))
		iov[1].iov_base = address(f, len);
	if (!pick(f, 8))
		scramble(f, &frame, sizeof(frame));
	n = writev(*slot(f), iov, pick(f, 8) ? 2 : 1);
	return n < 0 ? -errno : 0;
}

/* Serve as a good engine would: registrations shall come to an end, too. */
static int fuzz_serve(struct fuzzer *f)
{
	struct engine e;
	int i, rc = -EAGAIN;

	engine_init(&e, *slot(f));
	for (i = 0; i < 8; i++) {
		rc = engine_step(&e);
		if (rc)
			break;
	}
	return rc;
}

static int fuzz_close(struct fuzzer *f)
{
	int *s = slot(f);

	if (*s < 0)
		return -EBADF;
	close(*s);
	*s = -1;
	return 0;
}

/* A good command, or bytes that resemble one. */
static size_t some_command(struct fuzzer *f, __u8 *cmd, size_t room)
{
	size_t len = some_size(f, TPM_HEADER + pick(f, 40)) % room;

	if (pick(f, 2))
		return vt_cmd_getcap(cmd);
	scramble(f, cmd, len);
	if (len >= TPM_HEADER && pick(f, 4)) {
		tpm_header(cmd, 0x11f + pick(f, 0x80), len);
		cmd[1] = 1 + pick(f, 2);
	}
	return len;
}

/* A client that does not stay. */
static int fuzz_client(struct fuzzer *f)
{
	struct vtpm_create c = { .tpm_number = pick(f, 4) };
	int fd = vt_node(&c, pick(f, 2), O_NONBLOCK);
	__u8 cmd[VTPM_FRAME_MAX + 64];
	int rc;

	if (fd < 0)
		return fd;
	rc = write(fd, cmd, some_command(f, cmd, sizeof(cmd))) < 0 ? -errno : 0;
	atomic_fetch_add(&closing, 1);
	close(fd);
	atomic_fetch_sub(&closing, 1);
	return rc;
}

/*
 * The core's close() waits, and no signal ends that, until the command of a client
 * with O_NONBLOCK is over: 120 s for one that the core does not know, as random ones
 * are, and 300 s for some.  poll() is no better.  So somebody else must abort it.
 */
static void *hasten(void *arg)
{
	__u8 uuid[VTPM_UUID_SIZE];
	int control = vt_open();
	atomic_bool *over = arg;
	unsigned int i;

	while (!atomic_load(over)) {
		usleep(1000 * HASTEN_MS);
		for (i = 0; i < UUIDS && atomic_load(&closing); i++) {
			memset(uuid, 0x11 * (i + 1), sizeof(uuid));
			vt_target(control, VTPM_IOC_ABORT, uuid);
		}
	}
	if (control >= 0)
		close(control);
	return NULL;
}

static void *fuzz(void *arg)
{
	static int (*const calls[])(struct fuzzer *f) = {
		fuzz_create, fuzz_attach, fuzz_list, fuzz_xchg, fuzz_blind,
		fuzz_target, fuzz_read, fuzz_write, fuzz_serve, fuzz_serve,
		fuzz_close, fuzz_client, fuzz_xchg, fuzz_write,
	};
	struct fuzzer *f = arg;

	while (vt_now_ms() < f->end && (!f->most || f->calls < f->most)) {
		f->calls++;
		/* A stream of its own, or what a call came to would decide on later ones. */
		f->seed = f->first_seed ^ 2654435761U * f->calls;
		f->done += !calls[pick(f, ARRAY_SIZE(calls))](f);
	}
	return NULL;
}

static unsigned int from_env(const char *name, unsigned int otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoul(text, NULL, 0) : otherwise;
}

FIXTURE(fuzz) {
	int control;
	struct fuzzer f[THREADS];
	char saved[3][16];
};

/* Few devices, and no wait that is longer than the core's own durations. */
static const struct {
	const char *path;
	unsigned int value;
} params[] = {
	{ VT_PARAM("max_devices"), MAX_DEVICES },
	{ VT_PARAM("command_timeout_ms"), 50 },
	{ VT_PARAM("detach_timeout_ms"), 50 },
};

FIXTURE_SETUP(fuzz)
{
	int i;

	self->control = vt_setup();
	ASSERT_GE(self->control, 0);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, vt_read_text(params[i].path, self->saved[i],
					  sizeof(self->saved[i])));
		ASSERT_EQ(0, vt_param_set(params[i].path, params[i].value));
	}
}

FIXTURE_TEARDOWN(fuzz)
{
	int i;

	for (i = 0; i < 3; i++)
		vt_write_text(params[i].path, self->saved[i]);
	vt_wipe(self->control);
}

TEST_F_TIMEOUT(fuzz, random_calls, TIMEOUT)
{
	unsigned int seed = from_env("FUZZ_SEED", vt_now_ms() ^ getpid());
	unsigned int seconds = from_env("FUZZ_SECONDS", 4);
	int threads = from_env("FUZZ_THREADS", THREADS);
	struct vtpm_create c = {};
	atomic_bool over = false;
	pthread_t hastener;
	struct engine e;
	int i, j, fd;

	ASSERT_GE(LONGEST, seconds);
	ASSERT_TRUE(threads >= 1 && threads <= THREADS);
	TH_LOG("FUZZ_SEED=%u", seed);
	ASSERT_EQ(0, pthread_create(&hastener, NULL, hasten, &over));
	for (i = 0; i < threads; i++) {
		struct fuzzer *f = &self->f[i];

		f->first_seed = seed + i;
		f->end = vt_now_ms() + 1000 * seconds;
		f->most = from_env("FUZZ_CALLS", 0);
		ASSERT_GE(f->control = vt_open(), 0);
		for (j = 0; j < SLOTS; j++)
			f->engine[j] = -1;
		f->arena = mmap(NULL, ARENA + PAGE, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ASSERT_NE(MAP_FAILED, (void *)f->arena);
		ASSERT_EQ(0, mprotect(f->arena + ARENA, PAGE, PROT_NONE));
		ASSERT_EQ(0, pthread_create(&f->thread, NULL, fuzz, f));
	}
	for (i = 0; i < threads; i++) {
		pthread_join(self->f[i].thread, NULL);
		TH_LOG("thread %d: %lu calls, %lu without an error", i,
		       self->f[i].calls, self->f[i].done);
		EXPECT_LT(100, self->f[i].calls);
		EXPECT_LT(10, self->f[i].done);
		for (j = 0; j < SLOTS; j++)
			if (self->f[i].engine[j] >= 0)
				close(self->f[i].engine[j]);
		close(self->f[i].control);
	}
	atomic_store(&over, true);
	pthread_join(hastener, NULL);

	vt_wipe(self->control);
	ASSERT_EQ(0, vt_total(self->control));
	vt_drain(self->control);
	ASSERT_EQ(0, vt_make(self->control, &c));
	EXPECT_EQ(0, c.tpm_number);
	engine_init(&e, c.engine_fd);
	ASSERT_EQ(0, engine_start(&e));
	ASSERT_GE(fd = vt_node(&c, true, 0), 0);
	EXPECT_EQ(0, vt_getcap(fd));
	engine_stop(&e);
}

TEST_HARNESS_MAIN
