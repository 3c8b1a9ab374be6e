/* A commit: prime, ready, switch, swap, withdrawal, roll-back; and one death at any step of it.
 *
 * Slot 0 is heard and renders generation 1; the commit is primed in slot 1. Decide-take-render and publish-announce
 * are a step each: journal.pml looks closer. A successor starts from the present state (restart.pml: from torn
 * checkpoints). The sequence of generations: each commit, and each abort, takes the next one.
 *
 * Faults, each one rule left out:
 *   NOGEN          prime_ready says only 0 or 1, not for which generation
 *   SWITCHUNPRIMED the SWITCH record is sent without waiting for prime_ready
 *   SWITCHFIRST    the SWITCH record is published before the gate is opened
 *   READYFULL      the standby turns when it likes, and is ready when its ring is full of the new generation
 *   NOGATEBLOCK    the gate does not ask whether the due block of the pending generation is there
 *   BLINDWITHDRAW  a commit is refused without waiting for a callback that may be in the gate
 *   STAYPLAYABLE   a slot that turned to a refused generation stays playable
 *   EARLYSUCCESSOR a ring is written again while a callback that has chosen it may still read
 *   KEEPNEWER      a successor leaves blocks of a newer, refused, generation in its ring
 *   STICKS         after one late block, bridged with the old generation, the old generation stays
 *   NOFALLBACK     no block of an older generation is played
 */
#ifndef COMMITS
#define COMMITS 1
#endif
#define GENERATIONS 6
#define OLD 0
#define NEW 1
#define SUCCESSOR 2

#include "parts.pml"

mtype = { idle, priming, opening, switching, withdrawing, probation, over };

typedef PrimeReady { byte generation; bool is_ready } /* one 64-bit word in C */

Ring ring[2];
byte applied[3];
bool dead[3];
byte heard_slot, heard = 1, swapped; /* by the callback */
bool looking;                        /* the callback is between its look at the gate and the end of its turn */
bool playable[2];
byte pending_switch, standby_ready;  /* by the supervisor */
PrimeReady prime_ready;              /* of slot 1 */
byte switch_at, switch_to;           /* the SWITCH record: its number, its generation */
byte armed;                          /* beside the running plan of the worker in slot 1 */
byte joined_head;                    /* of the successor */
chan patch_queue = [2] of { byte };  /* 'abort', then 'prime' of a generation */

/* Ghosts */
byte replaced_slot = NOBODY, replaced_at;
byte content[NB];            /* state + 1 of a block: all generations carry the same state here */
byte begins[GENERATIONS];    /* block + 1 at which a generation begins */
bool primed[GENERATIONS];    /* its plan is built and primed */
bool refused[GENERATIONS];   /* the answer was /fail */
bool missed[NB];             /* when the callback looked for the block, slot 1 had not that of the new generation */

/* At the SWITCH record a worker turns if it has that plan; the active one has none and goes on. */
inline turn() {
  if
#ifdef READYFULL
  :: me == NEW && armed != 0 && generation == 1 ->
#else
  :: me == NEW && switch_at > applied[me] && switch_at <= upto && armed == switch_to ->
#endif
     generation = armed;
     armed = 0;
     MUST(one_switch, begins[generation] == 0);
     begins[generation] = head + 1
  :: else
  fi
}

#ifdef KEEPNEWER
#define STAYS (IN_SEAT(slot, head) && CELL(slot, head).generation >= generation)
#else
#define STAYS (IN_SEAT(slot, head) && CELL(slot, head).generation == generation)
#endif

proctype worker(byte me; byte slot; byte head; byte state; byte generation) {
  byte tag, was, upto;
  bool is_stale;
  {
    do
    :: head == NB -> break
    :: head < NB && head < play + LEAD ->
       atomic { look(); decide(); take(); turn() }
       d_step {
         if
         :: head < play || STAYS -> skip
         :: else ->
            CELL(slot, head).generation = generation;
            CELL(slot, head).first = state;
            CELL(slot, head).stamp = head + 1
         fi;
         MUST(one_content, content[head] == 0 || content[head] == state + 1);
         content[head] = state + 1;
         applied[me] = upto;
         upto = 0;
         head++;
         if :: me == SUCCESSOR -> joined_head = head :: else fi
#ifdef READYFULL
         ;
         if
         :: generation > 1 && begins[generation] != 0 && head >= begins[generation] - 1 + LEAD &&
            prime_ready.generation == generation -> prime_ready.is_ready = true
         :: else
         fi
#endif
       }
    od
  } unless { d_step { dead[me] || play == NB; head = 0; state = 0; generation = 0; tag = 0; was = 0; upto = 0 } }
}

/* The Python thread of the worker in slot 1: one message after the other, late as it pleases. */
proctype builder() {
  byte generation;
  {
end: do
    :: patch_queue ? generation ->
       armed = 0; /* 'abort': what was armed is taken back */
       d_step { armed = generation; primed[generation] = true }
#ifdef READYFULL
#elif defined(NOGEN)
       prime_ready.is_ready = true;
#else
       d_step {
         if
         :: prime_ready.generation == generation && !prime_ready.is_ready -> prime_ready.is_ready = true
         :: else -> armed = 0 /* given up meanwhile */
         fi
       }
#endif
    od
  } unless { d_step { dead[NEW] || play == NB; generation = 0; armed = 0 } }
}

#define THERE(s) (playable[s] && IN_SEAT(s, play))
#define GENERATION(s) CELL(s, play).generation
#define SAME(s) (THERE(s) && GENERATION(s) == heard)

#ifdef STICKS
#define WANTED(s) SAME(s)
#else
#define WANTED(s) (SAME(s) || (THERE(s) && GENERATION(s) == swapped)) /* the second: after one late block of it */
#endif

#define IS_READY (prime_ready.is_ready && prime_ready.generation == pending_switch)
#ifdef NOGATEBLOCK
#define DUE true
#else
#define DUE (THERE(NEW) && GENERATION(NEW) == pending_switch)
#endif
#define IS_OPEN (pending_switch != 0 && pending_switch != swapped && standby_ready == pending_switch && IS_READY && DUE)

inline choose() {
  if
  :: IS_OPEN ->
     MUST(only_primed, primed[pending_switch]);
     MUST(due_generation, IN_SEAT(NEW, play) && GENERATION(NEW) == pending_switch);
     MUST(first_is_first, play + 1 == begins[pending_switch] || missed[begins[pending_switch] - 1]);
     swaps = true;
     slot = NEW
  :: else ->
     if
     :: WANTED(heard_slot) -> slot = heard_slot
     :: !WANTED(heard_slot) && SAME(1 - heard_slot) -> slot = 1 - heard_slot
     :: !WANTED(heard_slot) && !SAME(1 - heard_slot) && THERE(heard_slot) -> slot = heard_slot
#ifndef NOFALLBACK
     :: !THERE(heard_slot) && !SAME(1 - heard_slot) && THERE(1 - heard_slot) -> slot = 1 - heard_slot
#endif
     :: else -> MUST(no_underrun, false)
     fi;
     MUST(generation_order, GENERATION(slot) <= (swapped -> swapped : 1));
     MUST(bridged_only, slot == heard_slot || !THERE(heard_slot) || GENERATION(heard_slot) != swapped)
  fi;
  if
  :: THERE(NEW) && GENERATION(NEW) > 1 -> skip
  :: else -> missed[play] = true
  fi
}

proctype callback() {
  byte slot, generation;
  bool swaps;
  do
  :: play == NB -> break
  :: d_step { /* the look at all words, and the choice; where no ring has the block, time stands still */
       play < NB && (THERE(0) || THERE(1)) ->
       looking = true;
       choose();
       generation = GENERATION(slot)
     }
     d_step { /* what follows from it, which may come late */
       MUST(whole_block, IN_SEAT(slot, play) && GENERATION(slot) == generation);
       MUST(whole_block, CELL(slot, play).first + 1 == content[play]);
       MUST(refused_unheard, !refused[generation]);
       if
       :: swaps ->
          swapped = generation;
          heard_slot = slot;
          SEEN(a_swap, true);
          SEEN(a_late_swap, play + 1 > begins[generation]);
          SEEN(a_swap_of_the_dead, dead[NEW])
       :: else ->
          SEEN(a_fall_back, generation < heard);
          SEEN(a_successor, replaced_slot == slot && play > replaced_at)
       fi;
       if :: dead[heard_slot] || !playable[heard_slot] -> heard_slot = slot :: else fi;
       heard = generation;
       play++;
       looking = false;
       swaps = false;
       generation = 0;
       slot = 0
     }
  od
}

#ifdef BLINDWITHDRAW
#define PASSED true
#else
#define PASSED (!looking)
#endif

#ifdef EARLYSUCCESSOR
#define PARTED true
#else
#define PARTED (!looking)
#endif

/* Stop whatever may still let the new generation be heard; the answer comes when the callback has passed. */
inline withdraw() {
  pending_switch = 0;
#ifndef STAYPLAYABLE
  playable[NEW] = false;
#endif
  phase = withdrawing
}

proctype supervisor() {
  byte generation = 1, commits;
  byte victim = NOBODY;
  bool noticed, replaced;
  mtype phase = idle;
  do
  :: play == NB -> break

  :: phase == idle && commits < COMMITS && victim == NOBODY ->
     d_step {
       generation++;
       prime_ready.generation = generation;
       prime_ready.is_ready = false;
       patch_queue ! generation;
       commits++;
       phase = priming
     }
#ifdef SWITCHUNPRIMED
  :: phase == priming ->
#else
  :: phase == priming && prime_ready.is_ready && prime_ready.generation == generation ->
#endif
     d_step {
       MUST(only_primed, primed[generation]);
#ifdef SWITCHFIRST
       newest++;
       switch_to = generation;
       switch_at = newest;
#else
       standby_ready = generation;
       pending_switch = generation;
#endif
       phase = opening
     }
  :: phase == opening ->
     d_step {
#ifdef SWITCHFIRST
       standby_ready = generation;
       pending_switch = generation;
#else
       newest++;
       switch_to = generation;
       switch_at = newest;
#endif
       phase = switching
     }
  :: phase == switching && swapped == generation -> d_step { pending_switch = 0; phase = probation }

#ifdef ABORTS
  :: phase == priming -> /* /patch/abort, or the time is over */
     d_step {
       refused[generation] = true;
       generation++;
       prime_ready.generation = generation;
       prime_ready.is_ready = false;
       phase = idle
     }
#endif
#ifdef LATE
  :: phase == switching -> /* its first block did not come within the time-out */
     d_step { withdraw() }
#endif
  :: phase == withdrawing && PASSED ->
     d_step {
       if
       :: swapped == generation && victim != NEW -> playable[NEW] = true; phase = probation /* it happened after all */
       :: else -> refused[generation] = true; phase = over
       fi
     }

#ifdef DEATH
  :: victim == NOBODY -> d_step { victim = DEATH; dead[DEATH] = true }
  :: victim != NOBODY && !noticed ->
     d_step {
       noticed = true;
       applied[victim] = 0;
       if
       :: phase == priming || phase == opening || (victim == NEW && (phase == switching || phase == probation)) ->
          withdraw();
          prime_ready.generation = 0;
          prime_ready.is_ready = false
       :: phase == idle -> playable[victim] = false; phase = over
       :: else -> playable[victim] = false /* the commit goes on: the standby turns at the record */
       fi;
       if :: victim == OLD && phase == withdrawing -> playable[NEW] = true; playable[OLD] = false :: else fi
     }
  :: noticed && !replaced && PARTED && (phase == over || phase == probation) && play > 0 ->
     atomic {
       replaced = true;
       replaced_slot = victim;
       replaced_at = play;
       applied[SUCCESSOR] = decided[play - 1] - 1;
       joined_head = play;
       run worker(SUCCESSOR, victim, play, content[play - 1] - 1, (phase == probation -> heard : 1))
     }
  :: replaced && !playable[victim] && (joined_head == NB || joined_head >= play + LEAD) -> playable[victim] = true
#endif
  od
}

init {
  atomic {
    playable[0] = true;
    playable[1] = true;
    run worker(OLD, 0, 0, 0, 1);
    run worker(NEW, 1, 0, 0, 1);
    run builder();
    run callback();
    run supervisor()
  }
}
