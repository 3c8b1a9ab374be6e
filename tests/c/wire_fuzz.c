/* The reader of the short way against damaged messages: wire_fuzz N SEED
 * Each datagram lies at the end of memory of its very size, so that the sanitizer sees a read beyond it. What is taken must be
 * sound: one of the modules, in range, and its answer of the length it says. */
#include "stress.h"
#include "wire.h"

static const PeParam params[] = {
    {.name = "freq", .alias = "frequency", .unit = "", .choices = "", .help = "", .min = 0.0, .flags = PE_PARAM_NYQUIST},
    {.name = "gain", .alias = "", .unit = "", .choices = "", .help = "", .min = -1.0, .max = 1.0},
    {.name = "mode", .alias = "", .unit = "", .choices = "a,b,c", .help = "", .min = 0.0, .max = 2.0, .flags = PE_PARAM_INTEGER},
    {.name = "gate", .alias = "", .unit = "", .choices = "", .help = "", .min = 0.0, .max = 1.0, .flags = PE_PARAM_GATE},
};
static const PeModuleInfo types[] = {
    {.name = "all", .params = params, .n_params = 4},
    {.name = "none", .params = NULL, .n_params = 0},
};
static const PeInboxModule modules[] = {
    {.handle = 1, .type = 0, .id_at = 0, .id_bytes = 4}, {.handle = 2, .type = 0, .id_at = 4, .id_bytes = 1}, {.handle = 3, .type = 1, .id_at = 5, .id_bytes = 4}};
static const char ids[] = "osc1xnone";
static uint32_t places[8];
static PeTable table = {.types = types, .modules = modules, .ids = ids, .places = places, .n_types = 2, .n_modules = 3, .mask = 7, .nyquist = 23990.0};

static const char *const addresses[] = {"/mod/osc1/freq", "/mod/osc1/frequency", "/mod/x/gain", "/mod/x/mode", "/gate/osc1", "/gate/x", "/mod/none/freq",
                                        "/gate/none", "/mod/osc1/gate", "/patch/create", "/patch/delete", "/mod/osc1", "/mod//freq", "/gate/", "/mod/osc1/",
                                        "/mod/osc1/freq/more", "/engine/sync", "/mod/osc12/freq", "/mod/osc/freq"};
static const char *const tags[] = {",f", ",d", ",i", ",h", ",s", ",T", ",ff", ",", ""};

static uint32_t put_text(uint8_t *to, const char *text) {
  const uint32_t n = ((uint32_t)strlen(text) + 4u) & ~3u;
  memset(to, 0, n);
  memcpy(to, text, strlen(text));
  return n;
}

static uint32_t message(Random *r, uint8_t *to) {
  uint32_t n = put_text(to, addresses[random_below(r, sizeof addresses / sizeof *addresses)]);
  const char *tag = tags[random_below(r, sizeof tags / sizeof *tags)];
  n += put_text(to + n, tag);
  const uint32_t size = tag[0] == 0 || tag[1] == 0 || tag[1] == 'T' ? 0 : tag[1] == 'd' || tag[1] == 'h' || tag[2] ? 8 : 4;
  const float sound[] = {0.0f, 1.0f, 0.5f, -1.0f, 440.0f, 1.0e30f};
  uint32_t bits;
  memcpy(&bits, &sound[random_below(r, 6)], 4);
  for (uint32_t i = 0; i < size; i++) to[n + i] = random_below(r, 2) ? (uint8_t)(i < 4 ? bits >> (24 - 8 * i) : 0) : (uint8_t)random_next(r);
  return n + size;
}

static uint32_t datagram(Random *r, uint8_t *to, uint32_t depth) {
  if (depth > 10 || random_below(r, 3)) return message(r, to);
  static const uint8_t head[16] = "#bundle\0\0\0\0\0\0\0\0\1";
  uint32_t n = 16;
  memcpy(to, head, 16);
  for (uint32_t k = random_below(r, 4); k > 0 && n < 4000; k--) {
    const uint32_t size = datagram(r, to + n + 4, depth + 1);
    to[n] = 0;
    to[n + 1] = (uint8_t)(size >> 16);
    to[n + 2] = (uint8_t)(size >> 8);
    to[n + 3] = (uint8_t)size;
    n += 4 + size;
  }
  return n;
}

static uint32_t sum_of_ids;
static void add(void *to, uint32_t hash) { *(uint32_t *)to += hash; }

static void add_one(void *to) { ++*(uint32_t *)to; }

static void check(const PeWireSetting *s) {
  CHECK(s->module < 2 && s->param < 4); /* the third has no parameters */
  const PeParam *p = &params[s->param];
  const double max = p->flags & PE_PARAM_NYQUIST ? table.nyquist : p->max;
  CHECK(s->value >= p->min && s->value <= max);
  if (p->flags & (PE_PARAM_INTEGER | PE_PARAM_GATE)) CHECK(s->value == (double)(int)s->value);
  uint8_t reply[PE_WIRE_REPLY_BYTES];
  const uint32_t n = pe_wire_reply(s, reply);
  CHECK(n % 4 == 0 && n <= PE_WIRE_REPLY_BYTES && memcmp(reply, "/done\0\0\0", 8) == 0);
  CHECK(memcmp(reply + 12, s->address, s->address_bytes + 1) == 0);
}

int main(int argc, char **argv) {
  CHECK(argc == 3);
  static uint8_t made[1u << 20];
  static PeWireSetting settings[8];
  Random r = {strtoull(argv[2], NULL, 10)};
  uint64_t n_taken = 0;
  for (uint32_t i = 0; i < 3; i++) {
    uint32_t at = pe_wire_hash(ids + modules[i].id_at, modules[i].id_bytes) & table.mask;
    while (places[at]) at = (at + 1) & table.mask;
    places[at] = i + 1;
  }
  for (uint64_t k = strtoull(argv[1], NULL, 10); k > 0; k--) {
    uint32_t n = datagram(&r, made, 0);
    for (uint32_t m = random_below(&r, 4); m > 0 && n > 0; m--) /* damage: some bytes, or a cut */
      if (random_below(&r, 4)) made[random_below(&r, n)] = (uint8_t)random_next(&r); else n = random_below(&r, n + 1);
    uint8_t *exact = malloc(n ? n : 1);
    CHECK(exact != NULL);
    memcpy(exact, made, n);
    const uint32_t found = pe_wire_read_all(&table, exact, n, settings, 8);
    CHECK(found <= 8);
    for (uint32_t i = 0; i < found; i++) check(&settings[i]);
    n_taken += found;
    uint32_t once = 0, twice = 0;
    pe_wire_ids(exact, n, &(PeWireIds){.say = add, .any = add_one, .to = &once});
    pe_wire_ids(exact, n, &(PeWireIds){.say = add, .any = add_one, .to = &twice});
    CHECK(once == twice);
    sum_of_ids += once;
    free(exact);
  }
  CHECK(n_taken > 0);
  printf("taken=%llu ids=%u\n", (unsigned long long)n_taken, sum_of_ids);
  return 0;
}
