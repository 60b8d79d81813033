/* Functions that DPDK has only as inline code in its headers, which Rust cannot call, as functions. Nothing else may live
 * here. */
#include "shim.h"

int evenkeel_rte_errno(void) {
    return rte_errno;
}

uint16_t evenkeel_rte_eth_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count) {
    return rte_eth_rx_burst(port, queue, mbufs, count);
}

uint16_t evenkeel_rte_eth_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count) {
    return rte_eth_tx_burst(port, queue, mbufs, count);
}

struct rte_mbuf *evenkeel_rte_pktmbuf_alloc(struct rte_mempool *pool) {
    return rte_pktmbuf_alloc(pool);
}

void evenkeel_rte_pktmbuf_free(struct rte_mbuf *mbuf) {
    rte_pktmbuf_free(mbuf);
}

char *evenkeel_rte_pktmbuf_append(struct rte_mbuf *mbuf, uint16_t bytes) {
    return rte_pktmbuf_append(mbuf, bytes);
}

char *evenkeel_rte_pktmbuf_prepend(struct rte_mbuf *mbuf, uint16_t bytes) {
    return rte_pktmbuf_prepend(mbuf, bytes);
}

int evenkeel_rte_pktmbuf_chain(struct rte_mbuf *head, struct rte_mbuf *tail) {
    return rte_pktmbuf_chain(head, tail);
}

unsigned int evenkeel_rte_ring_enqueue_burst(struct rte_ring *ring, void *const *objects, unsigned int count) {
    return rte_ring_enqueue_burst(ring, objects, count, NULL);
}

unsigned int evenkeel_rte_ring_dequeue_burst(struct rte_ring *ring, void **objects, unsigned int count) {
    return rte_ring_dequeue_burst(ring, objects, count, NULL);
}
