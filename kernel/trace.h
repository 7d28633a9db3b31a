/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM vtpm

#if !defined(VTPM_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define VTPM_TRACE_H

#include <linux/tracepoint.h>
#include <linux/vtpm.h>

TRACE_DEFINE_ENUM(VTPM_STATE_NEW);
TRACE_DEFINE_ENUM(VTPM_STATE_REGISTERING);
TRACE_DEFINE_ENUM(VTPM_STATE_LIVE);
TRACE_DEFINE_ENUM(VTPM_STATE_DETACHED);
TRACE_DEFINE_ENUM(VTPM_STATE_DEAD);

TRACE_DEFINE_ENUM(VTPM_FRAME_COMMAND);
TRACE_DEFINE_ENUM(VTPM_FRAME_CANCEL);
TRACE_DEFINE_ENUM(VTPM_FRAME_WAKE);

#define vtpm_show_state(state)						\
	__print_symbolic(state,						\
			 { VTPM_STATE_NEW,		"new" },	\
			 { VTPM_STATE_REGISTERING,	"registering" }, \
			 { VTPM_STATE_LIVE,		"live" },	\
			 { VTPM_STATE_DETACHED,		"detached" },	\
			 { VTPM_STATE_DEAD,		"dead" })

#define vtpm_show_type(type)						\
	__print_symbolic(type,						\
			 { VTPM_FRAME_COMMAND,	"command" },		\
			 { VTPM_FRAME_CANCEL,	"cancel" },		\
			 { VTPM_FRAME_WAKE,	"wake" })

#define vtpm_show_flags(flags)						\
	__print_flags(flags, "|",					\
		      { VTPM_FRAME_F_BOOTSTRAP,		"bootstrap" },	\
		      { VTPM_FRAME_F_REDELIVERED,	"redelivered" })

TRACE_EVENT(vtpm_state,
	    TP_PROTO(const struct vtpm_dev *dev, u32 old_state, u32 new_state),
	    TP_ARGS(dev, old_state, new_state),
	    TP_STRUCT__entry(__array(u8, uuid, VTPM_UUID_SIZE)
			     __field(u32, tpm)
			     __field(u32, old_state)
			     __field(u32, new_state)
	    ),
	    TP_fast_assign(memcpy(__entry->uuid, dev->uuid, VTPM_UUID_SIZE);
			   __entry->tpm = dev->tpm_number;
			   __entry->old_state = old_state;
			   __entry->new_state = new_state;
	    ),
	    TP_printk("tpm%u uuid=%pUb %s -> %s", __entry->tpm, __entry->uuid,
		      vtpm_show_state(__entry->old_state),
		      vtpm_show_state(__entry->new_state))
);

/* An engine came (attach), closed its file (orphan) or was cut off (fence). */
DECLARE_EVENT_CLASS(vtpm_engine,
		    TP_PROTO(const struct vtpm_dev *dev),
		    TP_ARGS(dev),
		    TP_STRUCT__entry(__field(u32, tpm)
				     __field(u64, attaches)
				     __field(u64, seq)
		    ),
		    TP_fast_assign(__entry->tpm = dev->tpm_number;
				   __entry->attaches = dev->attaches;
				   __entry->seq = dev->sequence;
		    ),
		    TP_printk("tpm%u engine=%llu seq=%llu", __entry->tpm,
			      __entry->attaches, __entry->seq)
);

DEFINE_EVENT(vtpm_engine, vtpm_attach,
	     TP_PROTO(const struct vtpm_dev *dev), TP_ARGS(dev));
DEFINE_EVENT(vtpm_engine, vtpm_orphan,
	     TP_PROTO(const struct vtpm_dev *dev), TP_ARGS(dev));
DEFINE_EVENT(vtpm_engine, vtpm_fence,
	     TP_PROTO(const struct vtpm_dev *dev), TP_ARGS(dev));

/* code: the command code of a command, the response code of a reply. */
DECLARE_EVENT_CLASS(vtpm_frame,
		    TP_PROTO(const struct vtpm_dev *dev, u64 seq, u32 len,
			     u32 code),
		    TP_ARGS(dev, seq, len, code),
		    TP_STRUCT__entry(__field(u32, tpm)
				     __field(u64, seq)
				     __field(u32, len)
				     __field(u32, code)
		    ),
		    TP_fast_assign(__entry->tpm = dev->tpm_number;
				   __entry->seq = seq;
				   __entry->len = len;
				   __entry->code = code;
		    ),
		    TP_printk("tpm%u seq=%llu len=%u code=%#x", __entry->tpm,
			      __entry->seq, __entry->len, __entry->code)
);

/* A client's command became a frame. */
DEFINE_EVENT(vtpm_frame, vtpm_frame_queue,
	     TP_PROTO(const struct vtpm_dev *dev, u64 seq, u32 len, u32 code),
	     TP_ARGS(dev, seq, len, code));

/* The engine's reply was accepted. */
DEFINE_EVENT(vtpm_frame, vtpm_frame_reply,
	     TP_PROTO(const struct vtpm_dev *dev, u64 seq, u32 len, u32 code),
	     TP_ARGS(dev, seq, len, code));

/* An engine took a frame: a command, CANCEL or WAKE. */
TRACE_EVENT(vtpm_frame_fetch,
	    TP_PROTO(const struct vtpm_dev *dev, const struct vtpm_frame *frame),
	    TP_ARGS(dev, frame),
	    TP_STRUCT__entry(__field(u32, tpm)
			     __field(u64, seq)
			     __field(u32, len)
			     __field(u16, type)
			     __field(u8, flags)
	    ),
	    TP_fast_assign(__entry->tpm = dev->tpm_number;
			   __entry->seq = frame->seq;
			   __entry->len = frame->len;
			   __entry->type = frame->type;
			   __entry->flags = frame->flags;
	    ),
	    TP_printk("tpm%u seq=%llu len=%u type=%s flags=%s", __entry->tpm,
		      __entry->seq, __entry->len,
		      vtpm_show_type(__entry->type),
		      vtpm_show_flags(__entry->flags))
);

/*
 * give_up: the client left without a reply.  drop: a reply was not accepted, or
 * (error 0) it answered a command that nobody waits for any more.
 */
DECLARE_EVENT_CLASS(vtpm_failure,
		    TP_PROTO(const struct vtpm_dev *dev, u64 seq, int error),
		    TP_ARGS(dev, seq, error),
		    TP_STRUCT__entry(__field(u32, tpm)
				     __field(u64, seq)
				     __field(int, error)
		    ),
		    TP_fast_assign(__entry->tpm = dev->tpm_number;
				   __entry->seq = seq;
				   __entry->error = error;
		    ),
		    TP_printk("tpm%u seq=%llu error=%d", __entry->tpm,
			      __entry->seq, __entry->error)
);

DEFINE_EVENT(vtpm_failure, vtpm_frame_give_up,
	     TP_PROTO(const struct vtpm_dev *dev, u64 seq, int error),
	     TP_ARGS(dev, seq, error));
DEFINE_EVENT(vtpm_failure, vtpm_frame_drop,
	     TP_PROTO(const struct vtpm_dev *dev, u64 seq, int error),
	     TP_ARGS(dev, seq, error));

#endif /* VTPM_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
