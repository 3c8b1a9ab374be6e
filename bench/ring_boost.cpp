/* The C++ queues of bench/ring.c: boost::lockfree::spsc_queue, and moodycamel's ReaderWriterQueue where it is installed. */
#include <new>

#include <boost/lockfree/spsc_queue.hpp>

#include "queues.h"

template <unsigned n>
struct alignas(64) Block {
  unsigned char bytes[n];
};

template <unsigned n>
using Boost = boost::lockfree::spsc_queue<Block<n>, boost::lockfree::capacity<CAPACITY>>;

template <unsigned n>
static void boost_init(void *memory) {
  static_assert(sizeof(Boost<n>) <= QUEUE_BYTES, "a queue lies in one piece");
  new (memory) Boost<n>();
}

template <unsigned n>
static ALWAYS_INLINE int boost_put(void *memory, const unsigned char *block) {
  return static_cast<Boost<n> *>(memory)->push(*reinterpret_cast<const Block<n> *>(block));
}

template <unsigned n>
static ALWAYS_INLINE int boost_get(void *memory, unsigned char *block) {
  return static_cast<Boost<n> *>(memory)->pop(*reinterpret_cast<Block<n> *>(block));
}

#define BOOST_PUT(memory, block, bytes) boost_put<bytes>(memory, block)
#define BOOST_GET(memory, block, bytes) boost_get<bytes>(memory, block)
#define BOOST_LOOPS(bytes) RING_LOOPS(boost, bytes, BOOST_PUT, BOOST_GET)
SHAPES(BOOST_LOOPS)

#define BOOST_ROW(bytes) RING_LOOPS_OF(boost, bytes, boost_init<bytes>, nullptr),
extern "C" const RingKind boost_kind = {"boost::lockfree::spsc_queue", 1, {SHAPES(BOOST_ROW)}};

#ifdef WITH_MOODYCAMEL
#include <readerwriterqueue/readerwriterqueue.h>

template <unsigned n>
using Moodycamel = moodycamel::ReaderWriterQueue<Block<n>>;

/* Its blocks are on the heap: `memory` only holds the pointer. */
template <unsigned n>
static void moodycamel_init(void *memory) {
  *static_cast<Moodycamel<n> **>(memory) = new Moodycamel<n>(CAPACITY);
}

template <unsigned n>
static void moodycamel_done(void *memory) {
  delete *static_cast<Moodycamel<n> **>(memory);
}

template <unsigned n>
static ALWAYS_INLINE int moodycamel_put(void *memory, const unsigned char *block) {
  return (*static_cast<Moodycamel<n> **>(memory))->try_enqueue(*reinterpret_cast<const Block<n> *>(block));
}

template <unsigned n>
static ALWAYS_INLINE int moodycamel_get(void *memory, unsigned char *block) {
  return (*static_cast<Moodycamel<n> **>(memory))->try_dequeue(*reinterpret_cast<Block<n> *>(block));
}

#define MOODYCAMEL_PUT(memory, block, bytes) moodycamel_put<bytes>(memory, block)
#define MOODYCAMEL_GET(memory, block, bytes) moodycamel_get<bytes>(memory, block)
#define MOODYCAMEL_LOOPS(bytes) RING_LOOPS(moodycamel, bytes, MOODYCAMEL_PUT, MOODYCAMEL_GET)
SHAPES(MOODYCAMEL_LOOPS)

#define MOODYCAMEL_ROW(bytes) RING_LOOPS_OF(moodycamel, bytes, moodycamel_init<bytes>, moodycamel_done<bytes>),
extern "C" const RingKind moodycamel_kind = {"moodycamel::ReaderWriterQueue", 0, {SHAPES(MOODYCAMEL_ROW)}};
#endif
