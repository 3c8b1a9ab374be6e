/* Seats: a worker whose kill is not confirmed keeps its seat, and may go on writing there.
 *
 * Three seats, two slots. A seat is a ring, a worker's words and checkpoints. Slot 1's worker hangs (or only seems to):
 * its slot is unplayable, its number holds no record any more, SIGKILL is sent and not confirmed; the successor gets
 * the spare seat, and the slot is mapped to it. The zombie goes on, in its seat, with whatever records it finds, or
 * dies at any step; then its seat is the spare one. Then slot 0's worker may die, and its successor has to find a
 * checkpoint. The ring is looked at as closely as in journal.pml.
 *
 * Faults, each one rule left out:
 *   SHAREDSEAT the successor gets the seat of the zombie
 *   ZOMBIECP   a successor takes the newest checkpoint, also one that the zombie wrote after it was given up
 *   NOLATCH    the callback looks the slot's seat up again between the halves of a block
 */
#ifndef NC
#define NC 1
#endif
#include "parts.pml"

#define SUCCESSOR 2
#define LAST 3
#define GARBAGE 254 /* what a zombie makes of a record that is overwritten */

Ring ring[3];      /* per seat */
byte seat_of[2];   /* slot -> seat; set before a worker starts */
bool playable[2];
byte applied[4];
bool alive[4], dead[4], given_up[4];
byte heard_slot;
byte cp_stamp[3], cp_block[3], cp_upto[3], cp_state[3]; /* per seat; restart.pml: two of them, and torn */
bool cp_counts[3]; /* the seat's checkpoint may be taken */
byte content[NB];  /* ghost */

inline forget() {
  floor = newest;
  if :: alive[0] && applied[0] < floor -> floor = applied[0] :: else fi;
  if :: alive[1] && applied[1] < floor -> floor = applied[1] :: else fi;
  if :: alive[2] && applied[2] < floor -> floor = applied[2] :: else fi;
  if :: cp_counts[0] && cp_upto[0] < floor -> floor = cp_upto[0] :: else fi;
  if :: cp_counts[1] && cp_upto[1] < floor -> floor = cp_upto[1] :: else fi;
  if :: cp_counts[2] && cp_upto[2] < floor -> floor = cp_upto[2] :: else fi;
  if :: floor > forgotten -> forgotten = floor :: else fi;
  floor = 0
}

#ifdef SECOND
#define FIRST_HALF skip
#else
#define FIRST_HALF d_step { CELL(seat, head).stamp = 0; CELL(seat, head).first = state }
#endif

proctype worker(byte me; byte seat; byte head; byte state) {
  byte tag, was, upto, floor;
  bool is_stale;
  {
    do
    :: head == NB -> break
    :: head < NB && head < play + LEAD ->
       atomic {
         look();
         decide();
         if
         :: given_up[me] && upto > applied[me] && forgotten > applied[me] -> state = GARBAGE
         :: given_up[me] && state == GARBAGE -> skip
         :: else -> take()
         fi
       }
       if
       :: head < play || IN_SEAT(seat, head) -> skip
       :: else ->
          FIRST_HALF;
          d_step {
#ifdef SECOND
            CELL(seat, head).first = state;
#endif
            CELL(seat, head).second = state;
            CELL(seat, head).stamp = head + 1;
            if
            :: given_up[me] -> skip
            :: else ->
               MUST(one_content, content[head] == 0 || content[head] == state + 1);
               content[head] = state + 1
            fi
          }
       fi;
       atomic {
         applied[me] = upto; upto = 0; head++;
         if
         :: cp_block[seat] == 0 && seat == 1 ->
            cp_stamp[seat] = head + 1; cp_block[seat] = head; cp_upto[seat] = applied[me]; cp_state[seat] = state
         :: true
         fi;
         SEEN(a_zombie_at_work, given_up[me]);
         d_step { forget() }
       }
    od
  } unless { d_step { dead[me] || play == NB; head = 0; state = 0; tag = 0; was = 0; upto = 0 } }
}

#define THERE(s) (playable[s] && IN_SEAT(seat_of[s], play))
#ifdef NOLATCH
#define SEAT seat_of[slot]
#else
#define SEAT seat
#endif

proctype callback() {
  byte slot, seat, first, second;
  do
  :: play == NB -> break
  :: d_step {
       play < NB && (THERE(0) || THERE(1)) ->
       slot = (THERE(heard_slot) -> heard_slot : 1 - heard_slot);
       seat = seat_of[slot];
       heard_slot = slot
     }
     first = CELL(SEAT, play).first;
     d_step {
       second = CELL(SEAT, play).second;
       MUST(whole_block, first == second && first + 1 == content[play]);
       SEEN(a_successor, seat == 2);
       play++;
       first = 0; second = 0; slot = 0; seat = 0
     }
  od
}

#ifdef ZOMBIECP
#define COUNTS(s) (cp_stamp[s] != 0)
#else
#define COUNTS(s) (cp_stamp[s] != 0 && cp_counts[s])
#endif

/* From the newest checkpoint that counts. */
inline start(w, slot, seat) {
  best = 0;
  if :: COUNTS(1) && cp_stamp[1] > cp_stamp[best] -> best = 1 :: else fi;
  if :: COUNTS(2) && cp_stamp[2] > cp_stamp[best] -> best = 2 :: else fi;
  applied[w] = cp_upto[best];
  alive[w] = true;
  seat_of[slot] = seat;
  playable[slot] = true;
  run worker(w, seat, cp_block[best], cp_state[best]);
  best = 0
}

#ifdef SHAREDSEAT
#define SPARE 1
#else
#define SPARE 2
#endif

proctype supervisor() {
  byte sent, floor, best;
  bool is_confirmed;
  do
  :: play == NB -> break
  :: sent < NC -> d_step { newest++; sent++; forget() }
  :: d_step { alive[1] && !given_up[1] -> given_up[1] = true; playable[1] = false; cp_counts[1] = false;
              alive[1] = false; forget() } /* it hangs, or so it seems */
  :: atomic { given_up[1] && !alive[SUCCESSOR] -> start(SUCCESSOR, 1, SPARE); d_step { forget() } }
  :: d_step { given_up[1] && !dead[1] -> dead[1] = true } /* the kill is confirmed, long after */
#ifdef SECOND
  :: atomic { alive[SUCCESSOR] && alive[0] -> alive[0] = false; dead[0] = true; applied[0] = 0 }
  :: atomic { dead[0] && !alive[LAST] -> start(LAST, 0, 0); d_step { forget() } }
#endif
  od
}

init {
  atomic {
    seat_of[1] = 1;
    playable[0] = true;
    playable[1] = true;
    alive[0] = true;
    alive[1] = true;
    cp_counts[0] = true;
    cp_counts[1] = true;
    cp_stamp[0] = 1;
    cp_stamp[1] = 1;
    run worker(0, 0, 0, 0);
    run worker(1, 1, 0, 0);
    run callback();
    run supervisor()
  }
}
