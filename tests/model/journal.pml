/* The journal and the ring: two workers, a successor for the one that dies, the callback, the sender of records.
 *
 * Every step that another process can see is a step here: the look at the journal and the compare-and-swap, the
 * block's stamp, each half of its data, the callback's look at the stamp and at each half.
 *
 * Faults, each one rule left out:
 *   NOCAS      the decision is stored, not swapped in
 *   STALEIDX   a worker proposes from a cached write index, not max(applied, fresh)
 *   ZEROTAG    laps of the journal are counted from 0
 *   SMALLJ     the journal is smaller than twice the ring (with J=2)
 *   NOFLOOR    records are kept for live workers only, not for who starts from the checkpoint
 *   STAMPFIRST the stamp is stored before the data
 *   PLAYFIRST  play_block advances before the block was read
 *   NOFENCE    the successor gets the ring of a worker that hangs and is not known to be gone
 *   REWRITE    a successor writes again what its predecessor published
 *   CLEARRING  a successor's ring is wiped before it starts
 *   NOHEDGE    a block that the active slot lacks is not taken from the standby
 */
#ifndef NC
#define NC 1 /* records that are sent */
#endif
#define SUCCESSOR 2

#include "parts.pml"

Ring ring[2];     /* one per slot */
byte applied[3];  /* of worker 0, worker 1, and the successor of either */
bool alive[3], dead[3];
byte cp_block, cp_upto, cp_state; /* the checkpoint: whole or not there (see restart.pml for a torn one) */
byte heard_slot;  /* only the callback writes it */
byte content[NB]; /* ghost: state + 1 of the first rendering of a block that was published */

/* The most eager sender that the rule allows: it overwrites a record the moment that it may. */
inline forget() {
  floor = newest;
  if :: alive[0] && applied[0] < floor -> floor = applied[0] :: else fi;
  if :: alive[1] && applied[1] < floor -> floor = applied[1] :: else fi;
  if :: alive[2] && applied[2] < floor -> floor = applied[2] :: else fi;
#ifndef NOFLOOR
  if :: cp_upto < floor -> floor = cp_upto :: else fi;
#endif
  if :: floor > forgotten -> forgotten = floor :: else fi;
  floor = 0
}

inline publish() {
  d_step {
    take();
#ifdef STAMPFIRST
    CELL(slot, head).stamp = head + 1;
#else
    CELL(slot, head).stamp = 0;
#endif
    CELL(slot, head).first = state
  }
  d_step {
    CELL(slot, head).second = state;
    CELL(slot, head).stamp = head + 1;
    MUST(one_content, content[head] == 0 || content[head] == state + 1);
    content[head] = state + 1
  }
}

proctype worker(byte me; byte slot; byte head; byte state) {
  byte tag, was, upto, floor;
  bool is_stale;
  {
    do
    :: head == NB -> break
    :: head < NB && head < play + LEAD ->
       look();
       decide();
       if
       :: is_stale -> break /* its supervisor would have it load a checkpoint: restart.pml */
       :: else
       fi;
       if
#ifdef REWRITE
       :: head < play -> d_step { take() }
       :: else -> publish()
#else
       :: head < play || IN_SEAT(slot, head) -> d_step { take() } /* past, or a predecessor's: it stays */
       :: else -> publish()
#endif
       fi;
       atomic {
         applied[me] = upto; upto = 0; head++;
         if
         :: me == heard_slot && cp_block == 0 -> cp_block = head; cp_upto = applied[me]; cp_state = state
         :: true /* or no checkpoint here */
         fi;
         d_step { forget() }
       }
    od
  } unless { d_step { dead[me] || play == NB; head = 0; state = 0; tag = 0; was = 0; upto = 0; is_stale = false } }
}

proctype callback() {
  byte slot, first, second;
  do
  :: play == NB -> break
  :: play < NB && content[play] != 0 -> /* before, all that there is to do is silence: time stands still */
     d_step {
       slot = NOBODY;
       if
       :: IN_SEAT(heard_slot, play) -> slot = heard_slot
#ifndef NOHEDGE
       :: !IN_SEAT(heard_slot, play) && IN_SEAT(1 - heard_slot, play) -> slot = 1 - heard_slot
#endif
       :: else -> MUST(no_underrun, false)
       fi
     }
#ifdef PLAYFIRST
     play++;
     first = CELL(slot, play - 1).first;
     second = CELL(slot, play - 1).second;
     d_step {
       MUST(whole_block, first == second && first + 1 == content[play - 1]);
#else
     first = CELL(slot, play).first;
     second = CELL(slot, play).second;
     d_step {
       MUST(whole_block, first == second && first + 1 == content[play]);
       play++;
#endif
       first = 0; second = 0; slot = 0
     }
  od
}

/* Sends the records, kills one worker at any step, and replaces it. */
proctype supervisor() {
  byte sent, victim = NOBODY, floor;
  bool replaced;
  do
  :: sent < NC -> d_step { newest++; sent++; forget() }
#ifdef DEATH
  :: victim == NOBODY -> d_step { victim = DEATH; dead[DEATH] = true }
#ifdef NOFENCE
  :: victim == NOBODY -> victim = DEATH /* it only hangs */
#endif
  :: victim != NOBODY && !replaced ->
     d_step { /* the checkpoint is pinned and the successor registered before anything is handed over */
       replaced = true;
       alive[victim] = false;
       applied[victim] = 0;
       alive[SUCCESSOR] = true;
       applied[SUCCESSOR] = cp_upto;
#ifdef CLEARRING
       ring[victim].at[0].stamp = 0;
       ring[victim].at[1].stamp = 0;
#endif
       forget()
     }
     run worker(SUCCESSOR, victim, cp_block, cp_state)
#endif
  :: play == NB -> break
  od
}

init {
  atomic {
    alive[0] = true;
    alive[1] = true;
    run worker(0, 0, 0, 0);
    run worker(1, 1, 0, 0);
    run callback();
    run supervisor()
  }
}
