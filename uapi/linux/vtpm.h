/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * vTPM proxy: the contract between vtpm.ko and the engines that serve it.
 *
 * vtpm.ko registers TPM 2.0 devices (/dev/tpmN, /dev/tpmrmN) with the kernel's
 * TPM core and hands each command frame to a user-space engine.  A device
 * outlives its engine: commands wait while no engine is attached, and a command
 * that a dead engine had taken is given to the next one with the same sequence
 * number.
 *
 * Two kinds of file carry the protocol:
 *
 *   /dev/vtpm      the control file.  CAP_SYS_ADMIN in the initial user namespace
 *                  is checked once, at open(); the open file is a capability that
 *                  may be passed to an unprivileged manager.  ioctl()s create,
 *                  attach, list and destroy devices; read() and poll() give
 *                  events.
 *   the engine fd  returned by CREATE and ATTACH.  read(), write(), poll() and
 *                  VTPM_IOC_XCHG carry frames of one device.
 *
 * Every ioctl structure begins with __u32 size, the size the caller was compiled
 * with.  The kernel accepts a shorter or longer structure (a longer one only if
 * the bytes it does not know are zero: -E2BIG otherwise), rejects unknown flags
 * and non-zero reserved fields with -EINVAL, and writes back at most size bytes.
 *
 * All integers are in the byte order of the host; TPM frames inside are
 * big-endian, as TPM 2.0 Library, Part 1 "Architecture" has them.
 */
#ifndef _UAPI_LINUX_VTPM_H
#define _UAPI_LINUX_VTPM_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Version of this interface; see struct vtpm_version. */
#define VTPM_ABI_MAJOR		1
#define VTPM_ABI_MINOR		0

#define VTPM_UUID_SIZE		16	/* bytes of a device's uuid */
#define VTPM_POWER_ID_SIZE	16	/* bytes of a power id */
#define VTPM_LABEL_SIZE		64	/* bytes of a label with its final NUL */

/* Longest command or reply the TPM core carries, in bytes. */
#define VTPM_FRAME_MAX		4096

/* Limits of the two time-outs, in milliseconds. */
#define VTPM_TIMEOUT_MIN_MS	1
#define VTPM_TIMEOUT_MAX_MS	3600000

/**
 * enum vtpm_state - life of a device, as INFO, LIST and sysfs show it
 * @VTPM_STATE_NEW: allocated, its number is taken, nothing sent yet
 * @VTPM_STATE_REGISTERING: the TPM core is sending its start-up commands
 * @VTPM_STATE_LIVE: registered, an engine is attached
 * @VTPM_STATE_DETACHED: registered, no engine; commands wait (detach_timeout_ms)
 * @VTPM_STATE_DEAD: destroyed or never registered; only its number is still taken
 */
enum vtpm_state {
	VTPM_STATE_NEW		= 0,
	VTPM_STATE_REGISTERING	= 1,
	VTPM_STATE_LIVE		= 2,
	VTPM_STATE_DETACHED	= 3,
	VTPM_STATE_DEAD		= 4,
};

/**
 * struct vtpm_version - VTPM_IOC_VERSION
 * @size: in: sizeof(struct vtpm_version) of the caller
 * @abi_major: out: VTPM_ABI_MAJOR of the module; another major is not compatible
 * @abi_minor: out: VTPM_ABI_MINOR of the module; grows when something is added
 * @features: out: bits of optional features; none defined yet
 * @module_version: out: version text of the module, NUL-terminated
 */
struct vtpm_version {
	__u32 size;
	__u32 abi_major;
	__u32 abi_minor;
	__u32 features;
	__u8 module_version[32];
};

/**
 * struct vtpm_create - VTPM_IOC_CREATE: make a device and attach its first engine
 * @size: in: sizeof(struct vtpm_create) of the caller
 * @flags: in: must be 0
 * @uuid: in: identity of the device, not all zero; -EEXIST while a device that is
 *	not dead has it
 * @label: in: printable ASCII without '/', NUL-terminated and zero-filled, may be
 *	empty; udev makes /dev/vtpm-by/name/LABEL of it
 * @command_timeout_ms: in: how long an attached engine may take for one command;
 *	0 = module default.  The TPM core's own, longer durations are kept.
 * @detach_timeout_ms: in: how long a command waits for an engine to attach;
 *	0 = module default
 * @engine_fd: out: engine fd, close-on-exec
 * @tpm_number: out: N of /dev/tpmN and /dev/tpmrmN
 * @dev_major: out: of /dev/tpmN
 * @dev_minor: out: of /dev/tpmN
 * @devrm_major: out: of /dev/tpmrmN
 * @devrm_minor: out: of /dev/tpmrmN
 * @power_id: out: names this power cycle; ATTACH must show it
 * @reserved: must be 0
 *
 * Registration goes on after the call, through frames marked
 * VTPM_FRAME_F_BOOTSTRAP; its end is the event VTPM_EVENT_REGISTERED.
 * Errors: -EEXIST, -EUSERS (too many devices of this user), -ENOSPC (too many
 * devices), -EINVAL, -E2BIG, -EFAULT, -EMFILE, -ENOMEM, -ESHUTDOWN (the system is
 * going down).
 */
struct vtpm_create {
	__u32 size;
	__u32 flags;
	__u8 uuid[VTPM_UUID_SIZE];
	__u8 label[VTPM_LABEL_SIZE];
	__u32 command_timeout_ms;
	__u32 detach_timeout_ms;
	__s32 engine_fd;
	__u32 tpm_number;
	__u32 dev_major;
	__u32 dev_minor;
	__u32 devrm_major;
	__u32 devrm_minor;
	__u8 power_id[VTPM_POWER_ID_SIZE];
	__u32 reserved[2];
};

/* Fence off the engine that is attached now instead of failing with -EBUSY. */
#define VTPM_ATTACH_REPLACE	(1U << 0)

/**
 * struct vtpm_attach - VTPM_IOC_ATTACH: attach a new engine to a device
 * @size: in: sizeof(struct vtpm_attach) of the caller
 * @flags: in: 0 or VTPM_ATTACH_REPLACE
 * @uuid: in: the device
 * @power_id: in: the id that CREATE or POWER_CYCLE gave last.  Showing it is the
 *	promise that the engine has restored what a TPM keeps while powered (PCRs,
 *	null seed, sessions); -ESTALE for any other id.
 * @engine_fd: out: engine fd, close-on-exec
 * @reserved: must be 0
 * @sequence: out: sequence number of the last frame the device made, 0 if none
 *
 * A frame that an earlier engine took and did not answer is delivered again, with
 * the same sequence number and VTPM_FRAME_F_REDELIVERED.
 * Errors: -ENOENT, -ESTALE, -EBUSY, -ESHUTDOWN (device is dead), and as CREATE.
 */
struct vtpm_attach {
	__u32 size;
	__u32 flags;
	__u8 uuid[VTPM_UUID_SIZE];
	__u8 power_id[VTPM_POWER_ID_SIZE];
	__s32 engine_fd;
	__u32 reserved;
	__u64 sequence;
};

/* RELEASE_NUMBER: only the device that had vtpm_target.tpm_number. */
#define VTPM_TARGET_NUMBER	(1U << 0)

/**
 * struct vtpm_target - names a device: DESTROY, ABORT, WAKE, RELEASE_NUMBER
 * @size: in: sizeof(struct vtpm_target) of the caller
 * @flags: in: VTPM_TARGET_NUMBER for RELEASE_NUMBER, else must be 0
 * @uuid: in: the device, the latest one if dead ones have the same uuid; -ENOENT if
 *	there is none
 * @tpm_number: in: with VTPM_TARGET_NUMBER: N of /dev/tpmN; else must be 0
 * @reserved: must be 0
 *
 * VTPM_IOC_DESTROY: clients and the engine are released at once (-EPIPE,
 * -ESHUTDOWN); the nodes vanish in the background and VTPM_EVENT_DESTROYED tells
 * of it.  The number stays taken, so that a node or cgroup rule that a container
 * still holds never reaches a later device.  -ESHUTDOWN if the device is dead.
 *
 * VTPM_IOC_RELEASE_NUMBER: forget every dead device with this uuid (and this
 * number) whose nodes are gone; their numbers may be used again.  -EBUSY if there
 * is none such, but a device that is not dead or whose nodes are still going away.
 *
 * VTPM_IOC_ABORT: fail the command in flight, if any; the client gets -EPIPE and
 * an engine that reads while it owes the reply gets VTPM_FRAME_CANCEL.  -ENODATA
 * if no command is in flight.
 *
 * VTPM_IOC_WAKE: make the engine's present or next wait for a frame return
 * VTPM_FRAME_WAKE once, so that it looks at what its manager has sent elsewhere.
 * -ENOTCONN if no engine is attached.
 */
struct vtpm_target {
	__u32 size;
	__u32 flags;
	__u8 uuid[VTPM_UUID_SIZE];
	__u32 tpm_number;
	__u32 reserved;
};

/**
 * struct vtpm_power_cycle - VTPM_IOC_POWER_CYCLE: cut and restore the power
 * @size: in: sizeof(struct vtpm_power_cycle) of the caller
 * @flags: in: must be 0
 * @uuid: in: the device
 * @power_id: out: the new power id; the old one is refused from now on
 *
 * The attached engine, if any, is fenced (-EPIPE) and the command in flight fails;
 * number, nodes and open files stay.  The next engine attaches with the new id and
 * starts from a fresh volatile state.
 * Errors: -ENOENT, -ESHUTDOWN, -EBUSY (still registering).
 */
struct vtpm_power_cycle {
	__u32 size;
	__u32 flags;
	__u8 uuid[VTPM_UUID_SIZE];
	__u8 power_id[VTPM_POWER_ID_SIZE];
};

/* Bits of vtpm_info.conditions: states to read, so no event can be missed. */
#define VTPM_COND_ATTACHED	(1U << 0)	/* an engine is attached */
#define VTPM_COND_WANTED	(1U << 1)	/* a command waits, no engine is attached */
#define VTPM_COND_ORPHANED	(1U << 2)	/* an engine closed its fd, none came since */
#define VTPM_COND_REGISTERED	(1U << 3)	/* /dev/tpmN and /dev/tpmrmN exist */
#define VTPM_COND_NUMBER_HELD	(1U << 4)	/* dead; RELEASE_NUMBER would succeed */
#define VTPM_COND_BUSY		(1U << 5)	/* a client's command is not over */

/**
 * struct vtpm_info - VTPM_IOC_INFO, and one entry of VTPM_IOC_LIST
 * @size: in: sizeof(struct vtpm_info) of the caller
 * @flags: in: must be 0
 * @uuid: in: the device (INFO); out (LIST)
 * @label: out: as given to CREATE
 * @state: out: enum vtpm_state
 * @conditions: out: VTPM_COND_ bits
 * @tpm_number: out: N of /dev/tpmN
 * @dev_major: out: of /dev/tpmN
 * @dev_minor: out: of /dev/tpmN
 * @devrm_major: out: of /dev/tpmrmN
 * @devrm_minor: out: of /dev/tpmrmN
 * @owner_uid: out: user who created the device, in the initial user namespace
 * @command_timeout_ms: out: in force
 * @detach_timeout_ms: out: in force
 * @register_errno: out: 0, or the positive errno with which registration failed
 * @register_tpm_rc: out: last response code of a start-up command that was not 0
 * @sequence: out: sequence number of the last frame
 * @commands: out: commands answered
 * @timeouts: out: commands given up because of a time-out
 * @aborts: out: commands given up because of ABORT or a killed client
 * @stale_replies: out: replies dropped with -ESTALE
 * @bad_replies: out: replies dropped with -EBADMSG or for their content
 * @attaches: out: engines attached since CREATE, the first one counted
 * @redeliveries: out: frames delivered more than once
 */
struct vtpm_info {
	__u32 size;
	__u32 flags;
	__u8 uuid[VTPM_UUID_SIZE];
	__u8 label[VTPM_LABEL_SIZE];
	__u32 state;
	__u32 conditions;
	__u32 tpm_number;
	__u32 dev_major;
	__u32 dev_minor;
	__u32 devrm_major;
	__u32 devrm_minor;
	__u32 owner_uid;
	__u32 command_timeout_ms;
	__u32 detach_timeout_ms;
	__u32 register_errno;
	__u32 register_tpm_rc;
	__u64 sequence;
	__u64 commands;
	__u64 timeouts;
	__u64 aborts;
	__u64 stale_replies;
	__u64 bad_replies;
	__u64 attaches;
	__u64 redeliveries;
};

/**
 * struct vtpm_list - VTPM_IOC_LIST: devices in the order of their creation
 * @size: in: sizeof(struct vtpm_list) of the caller
 * @flags: in: must be 0
 * @entries: in: address of an array of struct vtpm_info
 * @entry_size: in: bytes of one array element; each is filled as INFO would
 * @count: in: elements of the array; out: elements written
 * @cursor: in: 0 for the first call, else what the last call wrote; out: where
 *	the next call goes on
 * @total: out: devices there are now
 * @reserved: must be 0
 *
 * The end is reached when count comes back as 0.
 */
struct vtpm_list {
	__u32 size;
	__u32 flags;
	__u64 entries;
	__u32 entry_size;
	__u32 count;
	__u64 cursor;
	__u32 total;
	__u32 reserved;
};

/**
 * enum vtpm_event_type - what read() on /dev/vtpm tells
 * @VTPM_EVENT_REGISTERED: registration ended; @error says how
 * @VTPM_EVENT_WANTED: a command waits at a device without an engine
 * @VTPM_EVENT_ORPHANED: the attached engine's fd was closed
 * @VTPM_EVENT_DESTROYED: the nodes of a destroyed device are gone
 * @VTPM_EVENT_OVERFLOW: events were dropped for this reader: call LIST
 */
enum vtpm_event_type {
	VTPM_EVENT_REGISTERED	= 1,
	VTPM_EVENT_WANTED	= 2,
	VTPM_EVENT_ORPHANED	= 3,
	VTPM_EVENT_DESTROYED	= 4,
	VTPM_EVENT_OVERFLOW	= 5,
};

/**
 * struct vtpm_event - one event; read() gives as many whole ones as fit
 * @uuid: the device; zero for OVERFLOW
 * @type: enum vtpm_event_type
 * @error: REGISTERED: 0 or a positive errno; else 0
 * @tpm_rc: REGISTERED: the TPM response code behind @error, if one was
 * @tpm_number: N of /dev/tpmN
 * @sequence: WANTED: sequence number of the waiting command; else 0
 *
 * Each open file of /dev/vtpm has its own bounded queue, which begins to fill at
 * open().  A read buffer shorter than one event: -EINVAL.
 */
struct vtpm_event {
	__u8 uuid[VTPM_UUID_SIZE];
	__u32 type;
	__u32 error;
	__u32 tpm_rc;
	__u32 tpm_number;
	__u64 sequence;
};

/**
 * enum vtpm_frame_type - what a fetched frame is
 * @VTPM_FRAME_COMMAND: @len bytes of a TPM command follow; a reply is owed
 * @VTPM_FRAME_CANCEL: the command with this seq, which the engine has taken, is
 *	not wanted any more; answer it all the same (the reply is dropped)
 * @VTPM_FRAME_WAKE: VTPM_IOC_WAKE was called; nothing follows, nothing is owed
 */
enum vtpm_frame_type {
	VTPM_FRAME_COMMAND	= 1,
	VTPM_FRAME_CANCEL	= 2,
	VTPM_FRAME_WAKE		= 3,
};

#define VTPM_FRAME_F_BOOTSTRAP	(1U << 0)	/* sent by the TPM core while registering */
#define VTPM_FRAME_F_REDELIVERED (1U << 1)	/* an earlier engine had taken it */

/**
 * struct vtpm_frame - header before the bytes of a command or reply
 * @seq: sequence number, from 1, one for each command of the device; a reply
 *	carries the number of its command
 * @len: bytes that follow
 * @type: enum vtpm_frame_type; 0 in a reply
 * @locality: TPM locality of the command; 0 in a reply
 * @flags: VTPM_FRAME_F_ bits; 0 in a reply
 *
 * read() gives one header and its bytes; it waits unless O_NONBLOCK is set.  A
 * buffer that is too short: -EMSGSIZE, and the frame is not consumed.
 * write() (or one writev()) takes one header and its bytes.
 * Errors of both: -EAGAIN (O_NONBLOCK and nothing there), -EPIPE (fenced by a
 * newer engine or by POWER_CYCLE), -ESHUTDOWN (device is dead), -EINTR; of
 * write(): -ESTALE (no command with this seq is owed: dropped and counted),
 * -EBADMSG (lengths of the two headers and of the buffer differ, or the reply is
 * malformed: dropped, still owed), -EMSGSIZE (longer than VTPM_FRAME_MAX).
 * poll(): EPOLLIN a frame waits, EPOLLOUT a reply is owed, EPOLLHUP fenced or dead.
 */
struct vtpm_frame {
	__u64 seq;
	__u32 len;
	__u16 type;
	__u8 locality;
	__u8 flags;
};

/* Fetch without waiting, whatever the file's O_NONBLOCK says. */
#define VTPM_XCHG_NOWAIT	(1U << 0)

/**
 * struct vtpm_xchg - VTPM_IOC_XCHG (engine fd): reply, then wait for a frame
 * @size: in: sizeof(struct vtpm_xchg) of the caller
 * @flags: in: 0 or VTPM_XCHG_NOWAIT
 * @reply: in: address of the reply's bytes, without a header
 * @reply_seq: in: sequence number that is answered
 * @reply_len: in: bytes of the reply; 0 = no reply, only fetch
 * @buf_len: in: bytes at @buf, at least VTPM_FRAME_MAX
 * @buf: in: address where the frame's bytes go, without a header
 * @frame: out: header of the fetched frame
 * @replied: out: 1 once the reply is taken, also if the wait then fails (-EINTR,
 *	-EAGAIN): do not send it again
 * @reserved: must be 0
 *
 * Errors: those of write() while @replied is 0, those of read() after.
 */
struct vtpm_xchg {
	__u32 size;
	__u32 flags;
	__u64 reply;
	__u64 reply_seq;
	__u32 reply_len;
	__u32 buf_len;
	__u64 buf;
	struct vtpm_frame frame;
	__u32 replied;
	__u32 reserved;
};

#define VTPM_IOC_MAGIC		0xA1

/* On /dev/vtpm */
#define VTPM_IOC_VERSION	_IOWR(VTPM_IOC_MAGIC, 0x40, struct vtpm_version)
#define VTPM_IOC_CREATE		_IOWR(VTPM_IOC_MAGIC, 0x41, struct vtpm_create)
#define VTPM_IOC_ATTACH		_IOWR(VTPM_IOC_MAGIC, 0x42, struct vtpm_attach)
#define VTPM_IOC_DESTROY	_IOW(VTPM_IOC_MAGIC, 0x43, struct vtpm_target)
#define VTPM_IOC_INFO		_IOWR(VTPM_IOC_MAGIC, 0x44, struct vtpm_info)
#define VTPM_IOC_LIST		_IOWR(VTPM_IOC_MAGIC, 0x45, struct vtpm_list)
#define VTPM_IOC_ABORT		_IOW(VTPM_IOC_MAGIC, 0x46, struct vtpm_target)
#define VTPM_IOC_POWER_CYCLE	_IOWR(VTPM_IOC_MAGIC, 0x47, struct vtpm_power_cycle)
#define VTPM_IOC_RELEASE_NUMBER	_IOW(VTPM_IOC_MAGIC, 0x48, struct vtpm_target)
#define VTPM_IOC_WAKE		_IOW(VTPM_IOC_MAGIC, 0x49, struct vtpm_target)

/* On the engine fd */
#define VTPM_IOC_XCHG		_IOWR(VTPM_IOC_MAGIC, 0x60, struct vtpm_xchg)

#endif /* _UAPI_LINUX_VTPM_H */
