/* Loaded into dpdk-test-crypto-perf in front of DPDK's libraries (LD_PRELOAD), to give it what its options cannot: the working set and
 * the input that crypto-perf has. Built and used by dpdk.py; each part is off unless its variable is set.
 *
 *   SEALANE_FIFO=1         packets come from the pool in turn. The tool's pool has a cache per core, last in, first out, so that a run touches
 *                          hardly more packets than are under way; without the cache the pool is the ring below it.
 *   SEALANE_SESSIONS=N     N sessions (of one key: each has its own memory), taken in turn by the operations.
 *   SEALANE_SIZES=A,B,...  sizes of the packets in turn. The tool draws them at random, and in a chain of cipher and hash draws twice for
 *                          one packet. SEALANE_TAGS=HEX,... are the valid tags in the same order, where tags are checked.
 *   SEALANE_RESTORE=1      before every round over the pool all packets are zeroed, as sealed packets are put back in crypto-perf. What that
 *                          took is told at the end, in TSC cycles (the median time as often as it was done), to be taken off: it is not
 *                          timed in crypto-perf either.
 *   SEALANE_CHECK=1        counts the operations that came back as failed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cryptodev.h>
#include <rte_cycles.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

enum { MOST = 64, TAG = 64, SMALL = 1024, SAMPLES = 1 << 16 };

static struct rte_mempool *pool;
static void *sessions[1024];
static unsigned session_count = 1, next_session;
static uint32_t sizes[MOST];
static uint8_t tags[MOST][TAG];
static unsigned size_count, next_size, tag_count;
static int restores, checks;
static uint64_t in_round, finished, failed;

/* Times of one kind, in TSC cycles. */
struct times {
	uint64_t count;
	uint64_t samples[SAMPLES];
};
static struct times whole_rounds, late_packets;
static enqueue_pkt_burst_t enqueue_real;
static dequeue_pkt_burst_t dequeue_real;

static void *real(const char *name)
{
	void *symbol = dlsym(RTLD_NEXT, name);
	if (symbol == NULL) {
		fprintf(stderr, "dpdk_preload: this DPDK has no %s\n", name);
		exit(1);
	}
	return symbol;
}

static unsigned number(const char *name, unsigned otherwise)
{
	const char *text = getenv(name);
	return text == NULL ? otherwise : (unsigned)strtoul(text, NULL, 10);
}

__attribute__((constructor)) static void read_variables(void)
{
	session_count = RTE_MIN(number("SEALANE_SESSIONS", 1), RTE_DIM(sessions));
	restores = number("SEALANE_RESTORE", 0);
	checks = number("SEALANE_CHECK", 0);
	const char *text = getenv("SEALANE_SIZES");
	while (text != NULL && *text != '\0' && size_count < MOST) {
		char *end;
		sizes[size_count++] = (uint32_t)strtoul(text, &end, 10);
		text = *end == ',' ? end + 1 : NULL;
	}
	text = getenv("SEALANE_TAGS");
	for (; text != NULL && *text != '\0' && tag_count < MOST; tag_count++) {
		unsigned byte, at = 0;
		for (; at < TAG && sscanf(text, "%2x", &byte) == 1; text += 2)
			tags[tag_count][at++] = (uint8_t)byte;
		text = *text == ',' ? text + 1 : NULL;
	}
}

static void add_time(struct times *times, uint64_t start)
{
	times->samples[times->count++ % SAMPLES] = rte_rdtsc_precise() - start;
}

static int compare(const void *one, const void *other)
{
	uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
	return (a > b) - (a < b);
}

static unsigned long long total(struct times *times)
{
	size_t known = RTE_MIN(times->count, (uint64_t)SAMPLES);
	qsort(times->samples, known, sizeof(times->samples[0]), compare);
	return known == 0 ? 0 : times->count * times->samples[known / 2];
}

__attribute__((destructor)) static void report(void)
{
	if (restores)
		printf("#restoring,%llu\n", total(&whole_rounds) + total(&late_packets));
	if (checks)
		printf("#finished,%llu,failed,%llu\n", (unsigned long long)finished, (unsigned long long)failed);
}

struct rte_mempool *rte_mempool_create_empty(const char *name, unsigned n, unsigned elt_size, unsigned cache_size,
	unsigned private_data_size, int socket_id, unsigned flags)
{
	struct rte_mempool *(*create)(const char *, unsigned, unsigned, unsigned, unsigned, int, unsigned) =
		real("rte_mempool_create_empty");
	int packets = strncmp(name, "pool_cdev_", 10) == 0;
	if (packets && number("SEALANE_FIFO", 0))
		cache_size = 0;
	struct rte_mempool *made = create(name, n, elt_size, cache_size, private_data_size, socket_id, flags);
	if (packets)
		pool = made;
	return made;
}

struct rte_mempool *rte_cryptodev_sym_session_pool_create(const char *name, uint32_t nb_elts, uint32_t elt_size,
	uint32_t cache_size, uint16_t priv_size, int socket_id)
{
	struct rte_mempool *(*create)(const char *, uint32_t, uint32_t, uint32_t, uint16_t, int) =
		real("rte_cryptodev_sym_session_pool_create");
	return create(name, nb_elts + session_count, elt_size, cache_size, priv_size, socket_id);
}

void *rte_cryptodev_sym_session_create(uint8_t dev_id, struct rte_crypto_sym_xform *xforms, struct rte_mempool *mp)
{
	void *(*create)(uint8_t, struct rte_crypto_sym_xform *, struct rte_mempool *) = real("rte_cryptodev_sym_session_create");
	for (unsigned at = 0; at < session_count; at++) {
		sessions[at] = create(dev_id, xforms, mp);
		if (sessions[at] == NULL) {
			fprintf(stderr, "dpdk_preload: session %u of %u cannot be made\n", at + 1, session_count);
			return NULL;
		}
	}
	return sessions[0];
}

static void zero(struct rte_mempool *mp, void *context, void *object, unsigned number)
{
	struct rte_mbuf *packet = ((struct rte_crypto_op *)object)->sym->m_src;
	(void)mp, (void)context, (void)number;
	memset(rte_pktmbuf_mtod(packet, void *), 0, packet->data_len);
}

/* A multi-buffer driver keeps packets back between bursts; those that it had at the end of a round are decrypted after they were put back.
 * In a small pool they count, and are looked for; in a large one looking would bring cold packets into the cache. */
static void restore_late(struct rte_crypto_op **ops, uint16_t count)
{
	for (uint16_t at = 0; at < count; at++)
		if (*rte_pktmbuf_mtod(ops[at]->sym->m_src, uint64_t *) != 0) {
			uint64_t start = rte_rdtsc_precise();
			zero(pool, NULL, ops[at], 0);
			add_time(&late_packets, start);
		}
}

static void restore(struct rte_crypto_op **ops, uint16_t count)
{
	if (in_round + count > pool->size) {
		uint64_t start = rte_rdtsc_precise();
		rte_mempool_obj_iter(pool, zero, NULL);
		add_time(&whole_rounds, start);
		in_round = 0;
	}
	in_round += count;
	if (pool->size <= SMALL)
		restore_late(ops, count);
}

/* Which fields a size and a tag go into: those of an AEAD share their place with those of a cipher and a hash. */
static int is_aead;

static void set_size(struct rte_crypto_sym_op *op)
{
	uint32_t size = sizes[next_size];
	if (is_aead) {
		op->aead.data.length = size;
		if (tag_count > 0)
			op->aead.digest.data = tags[next_size];
	} else {
		op->cipher.data.length = size;
		op->auth.data.length = size;
		if (tag_count > 0)
			op->auth.digest.data = tags[next_size];
	}
	next_size = next_size + 1 == size_count ? 0 : next_size + 1;
}

static uint16_t enqueue(void *queue, struct rte_crypto_op **ops, uint16_t count)
{
	if (count == 0)
		return enqueue_real(queue, ops, count);
	if (restores)
		restore(ops, count);
	if (session_count > 1)
		for (uint16_t at = 0; at < count; at++) {
			ops[at]->sym->session = sessions[next_session];
			next_session = next_session + 1 == session_count ? 0 : next_session + 1;
		}
	if (size_count > 0)
		for (uint16_t at = 0; at < count; at++)
			set_size(ops[at]->sym);
	return enqueue_real(queue, ops, count);
}

static uint16_t dequeue(void *queue, struct rte_crypto_op **ops, uint16_t count)
{
	uint16_t done = dequeue_real(queue, ops, count);
	for (uint16_t at = 0; at < done; at++)
		failed += ops[at]->status != RTE_CRYPTO_OP_STATUS_SUCCESS;
	finished += done;
	return done;
}

int rte_cryptodev_start(uint8_t dev_id)
{
	int (*start)(uint8_t) = real("rte_cryptodev_start");
	int result = start(dev_id);
	struct rte_crypto_fp_ops *entry = &rte_crypto_fp_ops[dev_id];
	is_aead = number("SEALANE_AEAD", 0);
	if (restores || session_count > 1 || size_count > 0) {
		enqueue_real = entry->enqueue_burst;
		entry->enqueue_burst = enqueue;
	}
	if (checks) {
		dequeue_real = entry->dequeue_burst;
		entry->dequeue_burst = dequeue;
	}
	return result;
}
