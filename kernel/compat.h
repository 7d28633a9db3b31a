/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between kernels, and what the TPM core exports without a public
 * header: these prototypes are in drivers/char/tpm/tpm.h, which no headers
 * package ships.  test/compat_test.c compiles both together.
 */
#ifndef VTPM_COMPAT_H
#define VTPM_COMPAT_H

#include <linux/tpm.h>

struct tpm_chip *tpm_chip_alloc(struct device *dev,
				const struct tpm_class_ops *ops);
int tpm_chip_register(struct tpm_chip *chip);
void tpm_chip_unregister(struct tpm_chip *chip);
unsigned long tpm_calc_ordinal_duration(struct tpm_chip *chip, u32 ordinal);

/* Of TPM_NUM_DEVICES plain nodes; the resource-managed ones are numbered after. */
#define VTPM_TPM_NUM_DEVICES	65536

/*
 * With TPM_CHIP_FLAG_SYNC the core takes the reply's length from send().  A core
 * without it calls status() and recv() after send(), for the same buffer.
 */
#ifdef VTPM_HAVE_FLAG_SYNC
#define VTPM_CHIP_SYNC	TPM_CHIP_FLAG_SYNC
#else
#define VTPM_CHIP_SYNC	0
#endif

/* Else an engine could feed the host's entropy pool with full credit. */
#ifdef VTPM_HAVE_FLAG_HWRNG_DISABLED
#define VTPM_CHIP_NO_HWRNG	TPM_CHIP_FLAG_HWRNG_DISABLED
#else
#define VTPM_CHIP_NO_HWRNG	0
#endif

#endif /* VTPM_COMPAT_H */
