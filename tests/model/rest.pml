/* Rest: who renders nothing while its patch is silent until something is set, and who takes it for silence.
 *
 * Two workers that rest, or one of them is awake and late; the callback; one sender. A record takes effect at once, in
 * the block that takes it, and that block is not silent; or it lies in a block and waits for that (late, it takes effect
 * at once). All other blocks are silent, so whoever is awake may rest when nothing waits. Looked at closely: what is
 * decided by a look and a compare-and-swap, by workers and callback; publishing and looking, by the sender and by who
 * goes to rest; the two looks of a worker that wakes. A sleep in rest has no time-out here: what is not woken is not
 * seen. Until block FREE nobody is in time but by luck; from there on a request comes only when all that live wait.
 *
 * A request takes REQ blocks. A block that lacks is a fault only where somebody stood for its silence when a worker
 * that could have known so began, after the request before, to take a record into it. With LEADB 1 whoever is
 * awake does that always, and has three quarters of a block for it.
 *
 * Abstracted away: plans, seats beyond a successor's, laps of the journal, the budget, bundles, the words of a rest
 * one by one (their reader looks twice), what the callback remembers of records, a clock that rests.
 *
 * Switches: SOLO: one worker; BEHIND: one is awake, and late; DEATH=slot, at any step; JOIN: both died in their rest,
 * and a successor comes. Faults:
 *   NOCAS      the callback stores its decision, whatever stands there
 *   OWNWAY     a worker whose compare-and-swap fails goes by its own proposal
 *   NODECIDE   the callback takes a block for silence without a decision
 *   TRUST      the callback does not look at what others decided
 *   PASSSTAMP  the callback passes over a record that waits for the block
 *   RESTEARLY  a worker rests though a record waits
 *   LOOKFIRST  the sender looks who rests before it publishes
 *   LATESEEN   a worker notes the wake word after it has looked for records
 *   WAKEFULL   a worker that wakes takes part in decisions as always
 *   NEARISFAR  it takes the last block that it may render for far, however many a request takes
 *   NEVERWAKE  it takes part in decisions as the callback does for ever
 *   JOINAWAKE  a successor takes part as always, though the dead stand for silence
 *   LAGAWAKE   so does who is awake and late, though another rests
 */
#ifndef NC
#define NC 1
#endif
#ifndef LEADB
#define LEADB 2
#endif
#ifndef REQ
#define REQ 1
#endif
#ifndef FREE
#define FREE 3
#endif
#define LEAD (REQ - 1 + LEADB)
#define LAST (FREE + REQ) /* play comes to this block */
#define NB (LAST + LEAD)
#include "parts.pml"

#define AWAKE 0
#define RESTING 1
#define WAKING 2
#define NOW 15     /* of a record: in no block of its own */
#define NEVER 99
#define SUCCESSOR 2

byte at[NC + 1];   /* the block that record r lies in; numbers from 1 on */
byte word;         /* the word that sleepers wait on */
byte rests_from[3], rests_applied[3]; /* of a seat: block + 1 */
byte seat_of[2];
bool alive[3], dead[3];
byte rest[3], head[3], applied[3], woken[3], seen[3];
byte waits[3];     /* 1: asleep in rest; 2: until it may render */
short ring[3];     /* a bit for each block that is there */
bool is_sending;
byte oldest;

/* Ghosts. */
byte effect[NC + 1];  /* block + 1 */
byte done[3];         /* a bit for each record that a renderer has applied */
short passed;         /* blocks that were taken for silence */
bool knows[3];        /* somebody stands for the silence of the block that it decides on, since the end of the last request */
bool spoilt[NB];      /* so it was, and yet it took a record into that block */
#define HAS(seat, block) ((ring[seat] >> (block)) & 1)

#if NC == 1
#define ANY(low, high, C, block) ((low) < 1 && (high) >= 1 && C(1, block))
#else
#define ANY(low, high, C, block) (((low) < 1 && (high) >= 1 && C(1, block)) || ((low) < 2 && (high) >= 2 && C(2, block)))
#endif
#define LIES(r, block) (at[r] == (block))
#define WAITS(r, block) (at[r] != NOW && at[r] > (block))
#define ACTS(r, block) (at[r] == NOW || at[r] < (block))
#define ACTS_OR_LIES(r, block) (at[r] == NOW || at[r] <= (block))
#define NOT_BEFORE(r, block) (at[r] != NOW && at[r] >= (block))

/* Would the callback take it for silence, if nobody decides on anything else? */
#define STANDS(seat, block) (rests_from[seat] != 0 && rests_from[seat] <= (block) + 1 && journal[(block) - 1].tag != 0 && \
  journal[(block) - 1].upto >= rests_applied[seat] && !ANY(rests_applied[seat], journal[(block) - 1].upto, ACTS, block) && \
  !ANY(rests_applied[seat], newest, LIES, block))
#define SOMEBODY_RESTS (rests_from[seat_of[0]] != 0 || rests_from[seat_of[1]] != 0)
#define SOMEBODY_ALIVE_RESTS ((alive[seat_of[0]] && rests_from[seat_of[0]] != 0) || (alive[seat_of[1]] && rests_from[seat_of[1]] != 0))

#define NEEDS(w, block) (alive[w] && head[w] <= (block))
#define SOMEBODY_NEEDS(block) (NEEDS(0, block) || NEEDS(1, block) || NEEDS(2, block) || play <= (block) + 1)

/* The longest prefix that waits; all, if one lies in this block. Uses the local upto. */
inline what_waits(low, block) {
  upto = low;
  if
  :: ANY(low, newest, LIES, block) -> upto = newest
  :: else ->
     if :: upto < newest && WAITS(upto + 1, block) -> upto++ :: else fi;
#if NC > 1
     if :: upto < newest && upto > low && WAITS(upto + 1, block) -> upto++ :: else fi
#endif
  fi
}

/* What nobody looks at any more is the same in all states. */
inline forget() {
  if
  :: SOMEBODY_NEEDS(oldest) -> skip
  :: else -> journal[oldest].upto = 0; passed = passed >> (oldest + 1) << (oldest + 1); oldest++
  fi
}

/* ---- a worker -------------------------------------------------------------------------------------- */

#define MAY_RENDER(w) (head[w] < play + (rest[w] == RESTING -> 0 : LEAD))
#ifdef NEVERWAKE
#define MAY_GO_ON(w) MAY_RENDER(w)
#else
#define MAY_GO_ON(w) (MAY_RENDER(w) || (rest[w] == WAKING && woken[w] < play))
#endif
#define IS_STUCK(w) (!alive[w] || (waits[w] == 1 && seen[w] == word) || (waits[w] == 2 && !MAY_GO_ON(w)))
#define OVERSLEEPS(w) (alive[w] && rest[w] == RESTING && waits[w] == 1 && seen[w] == word && applied[w] != newest)

inline take_effect(r) {
  if
  :: r <= NC && r <= upto && (at[r] == head[me] || (r > applied[me] && ACTS(r, head[me]))) ->
     MUST(silence_is_true, !((passed >> head[me]) & 1));
     MUST(one_place, effect[r] == 0 || effect[r] == head[me] + 1);
     MUST(exactly_once, !((done[me] >> r) & 1));
     effect[r] = head[me] + 1;
     done[me] = done[me] | (1 << r);
     is_loud = true
  :: else
  fi
}

inline look_at_rest() {
  d_step {
    if
#ifndef LAGAWAKE
    :: rest[me] == AWAKE && LEADB > 1 && head[me] <= play && SOMEBODY_RESTS -> rest[me] = WAKING; woken[me] = NEVER
#endif
    :: rest[me] == RESTING && (newest != applied[me] || ANY(0, applied[me], NOT_BEFORE, head[me])) -> rest[me] = WAKING; woken[me] = NEVER
    :: else
    fi;
    if
    :: rest[me] == WAKING && woken[me] == NEVER && head[me] >= play + LEAD -> woken[me] = play
    :: else
    fi;
    if
#ifndef NEVERWAKE
    :: rest[me] == WAKING && woken[me] < play -> rest[me] = AWAKE; woken[me] = NEVER; rests_from[me] = 0
#endif
    :: else
    fi
  }
}

#ifdef NEARISFAR
#define REACHES_FAR (LEAD > 1)
#else
#define REACHES_FAR (LEADB > 1)
#endif
#ifdef WAKEFULL
#define TAKES_ALL true
#else
#define TAKES_ALL (rest[me] == AWAKE || (REACHES_FAR && head[me] + 1 >= play + LEAD))
#endif
#define IS_ITS_WAY (LEADB == 1 && rest[me] == AWAKE)

inline render() {
  d_step { /* what it knows when it begins, and the look */
    seen[me] = 0;
    is_all = TAKES_ALL;
    knows[me] = (STANDS(seat_of[0], head[me]) || STANDS(seat_of[1], head[me])) && !IS_ITS_WAY;
    was = journal[head[me]].tag;
    if :: is_all -> upto = newest :: else -> what_waits(applied[me], head[me]) fi;
    is_all = false
  }
  d_step { /* the compare-and-swap; and the records */
    if
    :: journal[head[me]].tag == 0 ->
       journal[head[me]].tag = 1;
       journal[head[me]].upto = upto;
       SEEN(a_record_far_ahead, rest[me] == WAKING && ANY(applied[me], upto, ACTS, head[me]));
       spoilt[head[me]] = knows[me] && ANY(applied[me], upto, ACTS, head[me])
    :: else ->
       SEEN(a_lost_race, was == 0);
#ifdef OWNWAY
       if :: was != 0 -> upto = journal[head[me]].upto :: else fi
#else
       upto = journal[head[me]].upto
#endif
    fi;
    was = 0;
    knows[me] = false;
    MUST(forward, upto >= applied[me]);
    is_loud = false;
    take_effect(1);
#if NC > 1
    take_effect(2);
#endif
    applied[me] = upto;
    upto = 0
  }
  atomic { /* published; and may it rest? */
    if :: head[me] >= play -> ring[me] = ring[me] | (1 << head[me]) :: else fi;
    head[me]++;
    forget();
#ifdef RESTEARLY
    may_rest = rest[me] == AWAKE && !is_loud && newest == applied[me];
#else
    may_rest = rest[me] == AWAKE && !is_loud && newest == applied[me] && !ANY(0, applied[me], NOT_BEFORE, head[me]);
#endif
    is_loud = false;
    if
    :: may_rest
    :: may_rest = false
    fi
  }
  if
  :: d_step {
       may_rest ->
       rest[me] = RESTING;
       rests_applied[me] = applied[me];
       rests_from[me] = head[me] + 1;
       may_rest = false
     }
  :: else
  fi
}

proctype worker(byte me) {
  byte upto, was;
  bool is_all, is_loud, may_rest;
  {
    do
#ifdef LATESEEN
    :: look_at_rest();
       seen[me] = word;
#else
    :: atomic { seen[me] = word; look_at_rest() }
#endif
       if
       :: MAY_RENDER(me) -> render()
       :: atomic {
            !MAY_RENDER(me) ->
            waits[me] = (rest[me] == RESTING -> 1 : 2);
            if :: waits[me] == 2 -> seen[me] = 0 :: else fi;
            MUST(nobody_oversleeps, is_sending || !OVERSLEEPS(me))
          }
end_sleep:
          d_step { (waits[me] == 1 && seen[me] != word) || (waits[me] == 2 && MAY_GO_ON(me)) -> waits[me] = 0; seen[me] = 0 }
       fi
    od
  } unless { d_step { dead[me]; upto = 0; was = 0; knows[me] = false; is_all = false; is_loud = false; may_rest = false; waits[me] = 0; seen[me] = 0 } }
}

/* ---- who sends ------------------------------------------------------------------------------------- */

inline choose_place(r) {
  if
  :: at[r] = NOW
  :: at[r] = play
  :: at[r] = play + 1
  :: play + 2 < LAST -> at[r] = play + 2
  fi
}

inline wake() {
  if :: SOMEBODY_ALIVE_RESTS -> word++ :: else fi
}

proctype sender() {
  byte sent;
#ifdef LOOKFIRST
  bool is_rest;
#endif
end_sender:
  do
  :: sent == NC -> break
#ifdef LOOKFIRST
  :: d_step { sent < NC && play < FREE -> is_rest = SOMEBODY_ALIVE_RESTS }
end_late:
     atomic { play < FREE -> choose_place(sent + 1); newest++; sent++; is_sending = true }
#else
  :: atomic { sent < NC && play < FREE -> choose_place(sent + 1); newest++; sent++; is_sending = true }
#endif
     d_step {
#ifdef LOOKFIRST
       if :: is_rest -> word++ :: else fi;
       is_rest = false;
#else
       wake();
#endif
       is_sending = false;
       MUST(nobody_oversleeps, !OVERSLEEPS(0) && !OVERSLEEPS(1) && !OVERSLEEPS(2))
     }
  od
}

/* ---- the callback ---------------------------------------------------------------------------------- */

#define IN_A_RING(block) (HAS(seat_of[0], block) || HAS(seat_of[1], block))

/* Does what a seat says hold for the block that is due? The look, and what it would decide. */
inline look_at_words(seat) {
  low = rests_applied[seat];
  before = journal[play - 1].upto;
  upto = 0;
  is_it = rests_from[seat] != 0 && play + 1 >= rests_from[seat] && journal[play - 1].tag != 0 && before >= low &&
          !ANY(low, before, ACTS, play);
#ifndef PASSSTAMP
  is_it = is_it && !ANY(low, newest, LIES, play);
#endif
  if
  :: is_it -> what_waits(before, play)
  :: else -> low = 0; before = 0
  fi
}

/* The compare-and-swap; and does it hold with what was decided? */
inline cover(seat) {
#ifdef NODECIDE
  upto = before;
#else
  if
#ifdef NOCAS
  :: true -> MUST(one_decision, journal[play].tag == 0 || journal[play].upto == upto);
#else
  :: journal[play].tag == 0 ->
#endif
     journal[play].tag = 1;
     journal[play].upto = upto
  :: else -> upto = journal[play].upto
  fi;
#endif
  is_it = upto >= before;
#ifndef TRUST
  is_it = is_it && !ANY(low, upto, ACTS, play);
#ifndef PASSSTAMP
  is_it = is_it && !ANY(low, upto, LIES, play);
#endif
#endif
  if
  :: is_it ->
     MUST(silence_is_true, effect[1] != play + 1);
#if NC > 1
     MUST(silence_is_true, effect[2] != play + 1);
#endif
     SEEN(a_silence_of_the_dead, dead[seat]);
     SEEN(a_taken_silence, upto > low);
     passed = passed | (1 << play)
  :: else
  fi;
  before = 0; upto = 0; low = 0
}

inline next_block() {
  play++;
  ring[0] = ring[0] >> play << play;
  ring[1] = ring[1] >> play << play;
  ring[2] = ring[2] >> play << play;
  forget();
  is_it = false;
  n--
}

/* One slot's rest, then the other's; the looks at the rings are one step with the first. */
inline request() {
  do
  :: atomic { n > 0 && IN_A_RING(play) -> next_block() }
  :: atomic { n > 0 && !IN_A_RING(play) -> look_at_words(seat_of[0]) }
     if
     :: d_step { is_it -> cover(seat_of[0]) }
     :: else
     fi;
     if
     :: else -> d_step { look_at_words(seat_of[1]) }
        if
        :: d_step { is_it -> cover(seat_of[1]) }
        :: else
        fi
     :: is_it
     fi;
     if
     :: d_step { is_it -> next_block() }
     :: d_step { /* silence, counted; engine time stands still */
          !is_it ->
          SEEN(a_missing_block, true);
          MUST(no_gap, !spoilt[play]);
          n = 0
        }
     fi
  :: n == 0 -> break
  od
}

#define ALL_ARE_STUCK (IS_STUCK(0) && IS_STUCK(1) && IS_STUCK(2) && !is_sending)
#define HAS_TAKEN_ALL(w) (!alive[w] || applied[w] == newest)

proctype callback() {
  byte n, low, before, upto;
  bool is_it;
end_callback:
  do
  :: atomic { play < LAST && (play < FREE || ALL_ARE_STUCK) -> n = (LAST - play < REQ -> LAST - play : REQ) }
     request();
     atomic { /* what was begun before had its time */
       knows[0] = false; knows[1] = false; knows[2] = false;
       do :: n < NB -> spoilt[n] = false; n++ :: else -> n = 0; break od
     }
  :: play == LAST && ALL_ARE_STUCK ->
     MUST(exactly_once, HAS_TAKEN_ALL(0) && HAS_TAKEN_ALL(1) && HAS_TAKEN_ALL(2));
     break
  od
}

/* ---- the beginning --------------------------------------------------------------------------------- */

inline begin(w) {
  head[w] = 1;
  woken[w] = NEVER;
  alive[w] = true;
  run worker(w)
}

#ifdef DEATH
proctype death() { d_step { dead[DEATH] = true; alive[DEATH] = false } }
#endif

#ifdef JOIN
/* It has caught up with what was decided on, and has the seat of slot 0 now; slot 1 is still that of one who died. */
proctype successor() {
end_successor:
  atomic {
    play < FREE;
    head[SUCCESSOR] = play;
    applied[SUCCESSOR] = journal[play - 1].upto;
#ifdef JOINAWAKE
    rest[SUCCESSOR] = (SOMEBODY_ALIVE_RESTS -> WAKING : AWAKE);
#else
    rest[SUCCESSOR] = (SOMEBODY_RESTS -> WAKING : AWAKE);
#endif
    woken[SUCCESSOR] = NEVER;
    if :: applied[SUCCESSOR] >= 1 && ACTS(1, play) -> done[SUCCESSOR] = done[SUCCESSOR] | 2 :: else fi;
#if NC > 1
    if :: applied[SUCCESSOR] >= 2 && ACTS(2, play) -> done[SUCCESSOR] = done[SUCCESSOR] | 4 :: else fi;
#endif
    seat_of[0] = SUCCESSOR;
    alive[SUCCESSOR] = true;
    run worker(SUCCESSOR)
  }
}
#endif

init {
  atomic {
    play = 1; /* block 0 was played: nothing was taken */
    journal[0].tag = 1;
    seat_of[1] = 1;
#ifdef JOIN
    dead[0] = true;
    dead[1] = true;
    rests_from[0] = 2;
    rests_from[1] = 2;
    run successor();
#else
    begin(0);
#ifdef SOLO
#define BEHIND_IT 0
#else
#define BEHIND_IT 1
    begin(1);
#endif
    rest[0] = RESTING; rests_from[0] = 2;
    rest[1] = RESTING; rests_from[1] = 2;
#ifdef BEHIND
    rest[BEHIND_IT] = AWAKE; rests_from[BEHIND_IT] = 0;
#endif
#ifdef SOLO
    rests_from[1] = 0;
#endif
#endif
#ifdef DEATH
    run death();
#endif
    run callback();
    run sender()
  }
}
