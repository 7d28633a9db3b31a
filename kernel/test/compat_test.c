// SPDX-License-Identifier: GPL-2.0-only
/*
 * Compiles our prototypes of the TPM core together with the core's own, which are
 * in a private header: a difference is an error here, and would be a crash
 * elsewhere, as symbol versions do not show it.
 */
#include <linux/module.h>

/* drivers/char/tpm/tpm.h of the kernel's source */
#include "tpm.h"
#include "../compat.h"
#include "../internal.h"

static_assert(VTPM_TPM_NUM_DEVICES == TPM_NUM_DEVICES);
static_assert(VTPM_FRAME_MAX == TPM_BUFSIZE);

MODULE_DESCRIPTION("compile test of compat.h");
MODULE_LICENSE("GPL");
