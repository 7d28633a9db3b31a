/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Private declarations of vtpm.ko.
 *
 *   control	/dev/vtpm: ioctls
 *   events	/dev/vtpm: what is read there
 *   registry	which devices there are
 *   device	how a device is made, registered and destroyed
 *   state	engines that come and go, ABORT, POWER_CYCLE, the end
 *   channel	the engine file
 *   exchange	the engine's side of an exchange
 *   chip	tpm_class_ops: the client's side of an exchange
 *   busywait	how both sides wait before they sleep
 *   sysfs	attributes of a device
 *   main	module, parameters, notifiers
 *
 * Life of a device (enum vtpm_state, vtpm_dev.state)
 *
 *   NEW ----> REGISTERING ----> LIVE <----> DETACHED
 *    |             |             |              |
 *    +-------------+------> DEAD <--------------+
 *
 *   NEW -> REGISTERING	the registration work starts
 *   REGISTERING -> LIVE	the TPM core took the chip, an engine is attached
 *   REGISTERING -> DETACHED	the same, but the engine has gone meanwhile
 *   LIVE <-> DETACHED		vtpm_detach(), vtpm_attach()
 *   any -> DEAD		vtpm_kill(): DESTROY, failed registration, reboot
 *
 *   A DEAD device stays in the registry, and its number stays taken, until
 *   RELEASE_NUMBER or module exit.
 *
 * One exchange (enum vtpm_xchg_state, vtpm_dev.xchg)
 *
 *   The TPM core sends one command at a time for each chip, so a device has one
 *   command buffer, one reply buffer and one exchange:
 *
 *   IDLE --queue--> QUEUED --fetch--> TAKEN --reply--> IDLE
 *
 *   queue	chip: the client's command gets a sequence number
 *   fetch	channel: the attached engine has all bytes of it
 *   reply	channel: the engine answered, the client wakes
 *
 *   QUEUED --give up--> IDLE	no engine has it: nothing else to do
 *   TAKEN --give up--> STALE	time-out or ABORT: the client leaves, but the
 *				engine still owes an answer; it is told by
 *				VTPM_FRAME_CANCEL
 *   STALE --reply--> IDLE	the answer is dropped, the next command may go
 *   TAKEN --detach--> QUEUED	the next engine gets the frame again, with the
 *				same sequence number and F_REDELIVERED
 *   STALE --detach--> IDLE	nobody is left who could answer
 *   any --kill--> IDLE		the client gets -EPIPE
 *
 *   vtpm_dev.client is true from queue until the client's outcome is decided;
 *   STALE and IDLE have no client, QUEUED and TAKEN always have one.
 *
 * Locks, outermost first
 *
 *   vtpm_registry_lock	(mutex) which devices there are: list, hash, count,
 *			vtpm_dev.published
 *   vtpm_dev.lock	(spinlock) everything in a struct vtpm_dev and a
 *			struct vtpm_chan below the line that says so; both state
 *			machines change only under it
 *   vtpm_events_lock	(spinlock) the event queues of all control files
 *
 *   The rule: no lock of the three is held while user memory is touched or the
 *   TPM core is called, and no spinlock while sleeping or busy-waiting.  Waiters
 *   queue themselves, or note vtpm_side.changes, under vtpm_dev.lock, so a change
 *   under it cannot be missed.  All three are taken in process context only.
 *
 *   What is looked at without its lock, by READ_ONCE(), is a hint, and whoever acts
 *   on it looks again with the lock: vtpm_side.changes, and vtpm_dev.state in sysfs.
 *
 *   The TPM core holds chip->ops_sem (read) and chip->tpm_mutex around send(), and
 *   tpm_chip_unregister() wants ops_sem for writing.  So a device is killed, which
 *   sends every client out of send(), before it is unregistered.
 */
#ifndef VTPM_INTERNAL_H
#define VTPM_INTERNAL_H

#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/uidgid.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/vtpm.h>

#define VTPM_MODULE_VERSION	"0.1.0"

/* The most that the module parameter and the attribute busy_wait_us may be. */
#define VTPM_BUSY_WAIT_MAX_US	10000

struct attribute_group;
struct file;
struct platform_device;
struct poll_table_struct;
struct task_struct;
struct tpm_chip;
struct vtpm_chan;
struct vtpm_reader;

enum vtpm_xchg_state {
	VTPM_XCHG_IDLE,
	VTPM_XCHG_QUEUED,
	VTPM_XCHG_TAKEN,
	VTPM_XCHG_STALE,
};

/**
 * struct vtpm_side - one side of a device: its clients, or its engines
 * @wq: those of it that sleep
 * @changes: grows whenever something changes that this side may wait for
 * @window_ns: how long the next wait may begin with spinning
 * @hits: waits that spun until what they were for came
 * @misses: waits that spun in vain
 * @spun_ns: time spent spinning
 *
 * vtpm_dev.lock protects all but @wq.
 */
struct vtpm_side {
	wait_queue_head_t wq;
	u32 changes;
	u32 window_ns;
	u64 hits;
	u64 misses;
	u64 spun_ns;
};

/**
 * struct vtpm_wait - one wait of one side
 * @begin: when it began, in ns
 * @limit: the most it may spin, in ns; 0: not at all
 * @spun: it has spun
 * @slept: it has slept, or is about to
 */
struct vtpm_wait {
	u64 begin;
	u32 limit;
	bool spun;
	bool slept;
};

/**
 * struct vtpm_dev - one virtual TPM
 * @ref: held by the registry, by each engine file and by each queued work
 * @id: order of creation, from 1; the cursor of VTPM_IOC_LIST
 * @uuid: identity
 * @label: NUL-terminated
 * @owner: user who called CREATE
 * @command_timeout_ms: time an attached engine has for one command
 * @detach_timeout_ms: time a command waits for an engine
 * @tpm_number: N of /dev/tpmN
 * @devt: of /dev/tpmN
 * @devt_rm: of /dev/tpmrmN
 * @chip: owned; its device reference keeps the number
 * @pdev: parent of @chip, carries the sysfs attributes.  A platform device because
 *	its release() is in the kernel image and may run after module exit.
 * @list: in vtpm_devices
 * @hash: in vtpm_by_uuid
 * @published: creation is complete; until then only the uuid is reserved
 * @register_work: tpm_chip_register()
 * @destroy_work: tpm_chip_unregister()
 * @lock: protects all that follows
 * @clients: the client in send(), and who waits for an exchange to end
 * @engines: engines of this device, fenced ones too
 * @busy_wait_us: the most that a side spins, if the module parameter allows it
 * @pace: commands in quick succession until now, up to VTPM_PACE
 * @answered: end of the last command, in ns
 * @state: life of the device
 * @xchg: state of the exchange
 * @registered: the TPM core has the chip
 * @gone: dead, and nothing of it is left but its number
 * @orphaned: an engine closed its file, and none came since
 * @client: a client waits for the outcome of the exchange
 * @cancel: the engine has not yet been told that the frame is STALE
 * @delivered: some engine has taken the present frame
 * @bootstrap: the present frame was sent by @registrar
 * @first: the next command is the first of a transaction of the core
 * @restartable: the present command is that first one
 * @active: inside a transaction that has sent a command
 * @cap_pcrs: the present command is GetCapability(TPM_CAP_PCRS)
 * @rc: outcome for the client, valid when @client has become false
 * @chan: attached engine, NULL if none
 * @registrar: task inside tpm_chip_register()
 * @timeout: jiffies an engine has for the present command
 * @deadline: jiffies at which the client gives up; moves at attach and detach
 * @stale_deadline: jiffies up to which a command waits for a STALE one
 * @cmd_len: bytes at @cmd
 * @reply_len: bytes at @reply
 * @cmd: the command, VTPM_FRAME_MAX bytes; kept until its reply is accepted
 * @reply: the accepted reply, VTPM_FRAME_MAX bytes
 * @power_id: what ATTACH must show
 * @sequence: of the last frame; only that one can be in flight or owed
 * @register_errno: positive errno of a failed registration
 * @register_tpm_rc: last non-zero response code of a bootstrap command
 * @commands: see struct vtpm_info, as for the other counters
 * @timeouts: counter
 * @aborts: counter
 * @stale_replies: counter
 * @bad_replies: counter
 * @attaches: counter
 * @redeliveries: counter
 */
struct vtpm_dev {
	struct kref ref;
	u64 id;
	u8 uuid[VTPM_UUID_SIZE];
	char label[VTPM_LABEL_SIZE];
	kuid_t owner;
	u32 command_timeout_ms;
	u32 detach_timeout_ms;
	u32 tpm_number;
	dev_t devt;
	dev_t devt_rm;
	struct tpm_chip *chip;
	struct platform_device *pdev;
	struct list_head list;
	struct hlist_node hash;
	bool published;
	struct work_struct register_work;
	struct work_struct destroy_work;

	spinlock_t lock; /* protects all that follows */
	struct vtpm_side clients;
	struct vtpm_side engines;
	unsigned int busy_wait_us;
	unsigned int pace;
	u64 answered;
	enum vtpm_state state;
	enum vtpm_xchg_state xchg;
	bool registered;
	bool gone;
	bool orphaned;
	bool client;
	bool cancel;
	bool delivered;
	bool bootstrap;
	bool first;
	bool restartable;
	bool active;
	bool cap_pcrs;
	int rc;
	struct vtpm_chan *chan;
	struct task_struct *registrar;
	unsigned long timeout;
	unsigned long deadline;
	unsigned long stale_deadline;
	u32 cmd_len;
	u32 reply_len;
	u8 *cmd;
	u8 *reply;
	u8 power_id[VTPM_POWER_ID_SIZE];
	u64 sequence;
	int register_errno;
	u32 register_tpm_rc;
	u64 commands;
	u64 timeouts;
	u64 aborts;
	u64 stale_replies;
	u64 bad_replies;
	u64 attaches;
	u64 redeliveries;
};

/**
 * struct vtpm_chan - one open engine file
 * @dev: its device; referenced
 * @reply_lock: (mutex) serialises writers, for @in
 * @in: reply from user memory, VTPM_FRAME_MAX bytes
 * @out: frame on its way to user memory, VTPM_FRAME_MAX bytes
 * @fetching: a reader owns @out
 * @contended: another reader waits for that
 * @wake: VTPM_IOC_WAKE was called
 *
 * Each engine has buffers of its own, so a fenced one whose access to user memory
 * hangs never sees a byte of a later frame.
 */
struct vtpm_chan {
	struct vtpm_dev *dev;
	struct mutex reply_lock; /* outside of vtpm_dev.lock */
	u8 *in;
	u8 *out;

	/* vtpm_dev.lock protects all that follows */
	bool fetching;
	bool contended;
	bool wake;
};

/* main.c */
extern unsigned int vtpm_max_devices;
extern unsigned int vtpm_max_devices_per_user;
extern unsigned int vtpm_command_timeout_ms;
extern unsigned int vtpm_detach_timeout_ms;
extern unsigned int vtpm_busy_wait_us;
/* System sleep is being prepared: no transaction may begin. */
extern bool vtpm_held;
extern struct workqueue_struct *vtpm_register_wq;
extern struct workqueue_struct *vtpm_destroy_wq;

/* control.c */
int vtpm_control_init(void);
void vtpm_control_exit(void);

/* events.c */
void vtpm_event(struct vtpm_dev *dev, u32 type, u32 error);
ssize_t vtpm_events_read(struct file *file, char __user *buf, size_t len,
			 loff_t *off);
__poll_t vtpm_events_poll(struct file *file, struct poll_table_struct *wait);
struct vtpm_reader *vtpm_events_open(void);
void vtpm_events_close(struct vtpm_reader *reader);

/* registry.c */
struct vtpm_dev *vtpm_dev_reserve(const struct vtpm_create *args);
int vtpm_dev_publish(struct vtpm_dev *dev);
void vtpm_dev_abandon(struct vtpm_dev *dev);
struct vtpm_dev *vtpm_dev_find(const u8 *uuid);
unsigned int vtpm_dev_collect(u64 *cursor, struct vtpm_dev **devs,
			      unsigned int max, u32 *total);
int vtpm_dev_release_number(const u8 *uuid, const u32 *number);
void vtpm_dev_release_all(void);
void vtpm_dev_kill_all(void);
void vtpm_dev_hold_all(void);
void vtpm_dev_unhold_all(void);

/* device.c */
struct vtpm_dev *vtpm_dev_alloc(const struct vtpm_create *args);
int vtpm_dev_add(struct vtpm_dev *dev);
int vtpm_dev_destroy(struct vtpm_dev *dev);
void vtpm_dev_get(struct vtpm_dev *dev);
void vtpm_dev_put(struct vtpm_dev *dev);
void vtpm_dev_info(struct vtpm_dev *dev, struct vtpm_info *info);

/* state.c */
void vtpm_set_state(struct vtpm_dev *dev, enum vtpm_state state);
void vtpm_give_up(struct vtpm_dev *dev, int rc);
bool vtpm_kill(struct vtpm_dev *dev);
int vtpm_attach(struct vtpm_dev *dev, struct file *engine, u32 flags,
		const u8 *power_id, u64 *sequence);
void vtpm_detach(struct vtpm_chan *chan);
int vtpm_abort(struct vtpm_dev *dev);
int vtpm_wake(struct vtpm_dev *dev);
int vtpm_power_cycle(struct vtpm_dev *dev, u8 *power_id);

/* channel.c */
struct file *vtpm_chan_open(struct vtpm_dev *dev);

/* exchange.c */
int vtpm_chan_error(struct vtpm_chan *chan);
int vtpm_peek(struct vtpm_chan *chan, struct vtpm_frame *frame);
int vtpm_fetch_begin(struct vtpm_chan *chan, struct vtpm_frame *frame,
		     bool nonblock);
bool vtpm_fetch_end(struct vtpm_chan *chan, const struct vtpm_frame *frame,
		    int rc);
int vtpm_bad_reply(struct vtpm_dev *dev, u64 seq);
int vtpm_reply(struct vtpm_chan *chan, u64 seq, u32 len, bool waits);

/* chip.c */
int vtpm_chip_create(struct vtpm_dev *dev);
int vtpm_chip_start(struct vtpm_dev *dev);
void vtpm_chip_stop(struct vtpm_dev *dev);

/* busywait.c */
bool vtpm_will_spin(const struct vtpm_dev *dev, const struct vtpm_side *side);
void vtpm_notify(struct vtpm_side *side, bool sync);
void vtpm_wait_begin(struct vtpm_dev *dev, struct vtpm_side *side,
		     struct vtpm_wait *wait);
bool vtpm_wait_spin(struct vtpm_dev *dev, struct vtpm_side *side,
		    struct vtpm_wait *wait);
void vtpm_wait_end(struct vtpm_dev *dev, struct vtpm_side *side,
		   const struct vtpm_wait *wait, bool came);

/* sysfs.c */
extern const struct attribute_group *vtpm_groups[];

#endif /* VTPM_INTERNAL_H */
