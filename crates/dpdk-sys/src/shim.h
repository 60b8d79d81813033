/* What the bindings are made from: the headers of the system's libdpdk, and declarations of what is no function there. */
#pragma once

/* Sets of CPUs, in which lcores are (cpu_set(3)). */
#define _GNU_SOURCE

#include <stddef.h>

#include <rte_eal.h>
#include <rte_epoll.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_eth_ring.h>
#include <rte_hash.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_ring.h>
#include <rte_version.h>

/* Where the fields of an mbuf are that the safe layer reads and writes. The structure's anonymous unions are not the same
 * in every release; where a field lies is all that matters, and the compiler says it. */
enum evenkeel_mbuf_offset {
    EVENKEEL_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr),
    EVENKEEL_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off),
    EVENKEEL_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len),
    EVENKEEL_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len),
    EVENKEEL_MBUF_NEXT = offsetof(struct rte_mbuf, next),
    EVENKEEL_MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs),
};

/* Macros whose values bindings cannot be made from. */
static const uint64_t EVENKEEL_RX_OFFLOAD_SCATTER = RTE_ETH_RX_OFFLOAD_SCATTER;
static const uint64_t EVENKEEL_RX_OFFLOAD_RSS_HASH = RTE_ETH_RX_OFFLOAD_RSS_HASH;
static const uint64_t EVENKEEL_TX_OFFLOAD_MULTI_SEGS = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
static const uint64_t EVENKEEL_RSS_IPV4 = RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV4_UDP;
static const uint8_t EVENKEEL_HASH_LOCK_FREE = RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF;

/* The functions below are inline in DPDK's headers; each is documented there under its name without the prefix. */
int evenkeel_rte_errno(void);
uint16_t evenkeel_rte_eth_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
uint16_t evenkeel_rte_eth_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
struct rte_mbuf *evenkeel_rte_pktmbuf_alloc(struct rte_mempool *pool);
void evenkeel_rte_pktmbuf_free(struct rte_mbuf *mbuf);
char *evenkeel_rte_pktmbuf_append(struct rte_mbuf *mbuf, uint16_t bytes);
char *evenkeel_rte_pktmbuf_prepend(struct rte_mbuf *mbuf, uint16_t bytes);
int evenkeel_rte_pktmbuf_chain(struct rte_mbuf *head, struct rte_mbuf *tail);
unsigned int evenkeel_rte_ring_enqueue_burst(struct rte_ring *ring, void *const *objects, unsigned int count);
unsigned int evenkeel_rte_ring_dequeue_burst(struct rte_ring *ring, void **objects, unsigned int count);
