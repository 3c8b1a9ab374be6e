/* Checkpoints and restarts: two deaths at any step, torn checkpoints, the floor of the stream, a chain of plans.
 *
 * Each seat has two checkpoints of its own. A successor takes the newest whole one of a generation that it has plans
 * for, in two steps while others may write, and goes on from there by the journal and the records.
 * With SWITCH, a SWITCH record is sent: the worker in slot 1 turns to generation 2 at it, the callback swaps; a death
 * of what is heard then is either taken for the patch's fault (roll-back to 1) or not (successors render 2, from a
 * checkpoint of 2 or, through the SWITCH record, of 1).
 *
 * Faults, each one rule left out:
 *   TORNCP      a checkpoint's stamp is stored before its content
 *   NORECHECK   who copied a checkpoint does not look at the stamp again
 *   SHAREDCP    both seats write the same two checkpoints
 *   ONEBUFFER   a seat has one checkpoint, not two
 *   NOFLOOR     records are kept for live workers only
 *   NOPIN       nothing is pinned while a successor chooses and copies
 *   ONEFLOOR    the newest checkpoint alone holds the floor
 *   ANYFLOOR    the older of the two newest holds it, whichever seats they are in
 *   PASTSWITCH  a successor takes a checkpoint of the generation before that lies behind the SWITCH record
 *   NOCHAIN     a successor does not turn at the SWITCH record that it comes through
 *   DEADUNPLAYABLE blocks that a dead worker published are not played, only because its commit was refused
 *   FROMPRESENT a successor starts at play_block with the newest number, not with the journal's decisions
 */
#ifndef NC
#define NC 1
#endif
#ifndef CHECKPOINTS
#define CHECKPOINTS 2 /* how many are written in all */
#endif
#ifndef DEATHS
#define DEATHS 2
#endif
#define WORKERS 4 /* two, and two successors */
#define NO_PIN 255

#include "parts.pml"

typedef Checkpoint { byte stamp; byte generation; byte block; byte upto; byte state } /* stamp: block + 1, 0 invalid */

Ring ring[2];
Checkpoint checkpoint[4]; /* seat 0: 0 and 1, seat 1: 2 and 3 */
byte applied[WORKERS];
bool alive[WORKERS], dead[WORKERS];
byte pin[2] = NO_PIN;     /* per slot: records above it are kept for the successor that chooses and copies */
byte heard_slot;
bool swapped;             /* generation 2 was heard */
bool withdrawn;           /* generation 2 was refused or rolled back */
byte switch_at;           /* number of the SWITCH record, 0 = none */
byte announced[2];        /* per seat: number of the newest checkpoint that the supervisor was told of */
byte written, deaths;
byte next = 2;            /* number of the next successor */
byte waiting[2] = NOBODY; /* the slots that wait for one, in order */
byte started[2];

/* Ghosts */
byte content[NB];
byte begins; /* block + 1 of generation 2 */

/* The newest checkpoint of each seat holds the floor: it is always whole, for the writer takes the older one, and
 * whichever generation is to go on, a seat that rendered it has one that leads there. */
inline forget() {
  floor = newest;
  if :: alive[0] && applied[0] < floor -> floor = applied[0] :: else fi;
  if :: alive[1] && applied[1] < floor -> floor = applied[1] :: else fi;
  if :: alive[2] && applied[2] < floor -> floor = applied[2] :: else fi;
  if :: alive[3] && applied[3] < floor -> floor = applied[3] :: else fi;
  if :: pin[0] < floor -> floor = pin[0] :: else fi;
  if :: pin[1] < floor -> floor = pin[1] :: else fi;
#ifndef NOFLOOR
  if :: announced[0] < floor -> floor = announced[0] :: else fi;
  if :: announced[1] < floor -> floor = announced[1] :: else fi;
#endif
  if :: floor > forgotten -> forgotten = floor :: else fi;
  floor = 0
}

inline announce(number) {
#ifdef ONEFLOOR
  announced[0] = number;
  announced[1] = number
#elif defined(ANYFLOOR)
  if
  :: number >= announced[0] -> announced[1] = announced[0]; announced[0] = number
  :: number < announced[0] && number > announced[1] -> announced[1] = number
  :: else
  fi
#else
  announced[slot] = number
#endif
}

#ifdef SHAREDCP
#define BUFFER(seat, i) (i)
#else
#define BUFFER(seat, i) (2 * (seat) + (i))
#endif

/* The older one of the two; invalid is older than all. */
inline write_checkpoint() {
  d_step {
    written++;
#ifdef ONEBUFFER
    at = BUFFER(slot, 0);
#else
    at = BUFFER(slot, (checkpoint[BUFFER(slot, 0)].stamp <= checkpoint[BUFFER(slot, 1)].stamp -> 0 : 1));
#endif
#ifdef TORNCP
    checkpoint[at].stamp = head + 1;
#else
    checkpoint[at].stamp = 0;
#endif
    checkpoint[at].generation = generation;
    checkpoint[at].block = head
  }
  d_step {
    checkpoint[at].upto = applied[me];
    checkpoint[at].state = state;
    checkpoint[at].stamp = head + 1;
    announce(applied[me]);
    at = 0;
    forget()
  }
}

/* Of the generation that is to go on; or of the one before, if the SWITCH record is still to come. */
#ifdef PASTSWITCH
#define LEADS(i) (checkpoint[i].generation <= target)
#else
#define LEADS(i) (checkpoint[i].generation == target || (checkpoint[i].generation < target && checkpoint[i].upto < switch_at))
#endif
#define USABLE(i) (checkpoint[i].stamp > seen && LEADS(i))

/* Start from the newest whole checkpoint: choose, copy in two steps, look again. */
inline load_checkpoint() {
  do
  :: true ->
     d_step {
       seen = 0;
       if :: USABLE(0) -> at = 0; seen = checkpoint[0].stamp :: else fi;
       if :: USABLE(1) -> at = 1; seen = checkpoint[1].stamp :: else fi;
       if :: USABLE(2) -> at = 2; seen = checkpoint[2].stamp :: else fi;
       if :: USABLE(3) -> at = 3; seen = checkpoint[3].stamp :: else fi;
       MUST(usable_checkpoint, seen != 0);
       SEEN(a_torn_checkpoint, checkpoint[0].stamp == 0 && checkpoint[0].block != 0);
       head = checkpoint[at].block;
       generation = checkpoint[at].generation
     }
     d_step {
       applied[me] = checkpoint[at].upto;
       state = checkpoint[at].state;
       is_whole = (checkpoint[at].stamp == seen)
#ifdef NORECHECK
       ;
       is_whole = true
#endif
     }
     if :: is_whole -> break :: else fi
  od;
  atomic { /* registered, then the pin is lifted */
#ifdef FROMPRESENT
    head = play;
    applied[me] = newest;
#endif
    alive[me] = true;
    pin[slot] = NO_PIN;
    SEEN(a_chain, generation < target && switch_at <= applied[me] + 1);
    at = 0;
    seen = 0;
    is_whole = false;
    forget()
  }
}

#ifdef NOCHAIN
#define TURNS (me < 2 && target == 2)
#else
#define TURNS (target == 2)
#endif

inline publish() {
  d_step {
    if
    :: head < play || (IN_SEAT(slot, head) && CELL(slot, head).generation == generation) -> skip
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
    forget()
  }
}

/* The end of a worker, known at once. In slot 1 it ends a commit that was not heard yet; one that was heard it ends
 * if it is the patch's fault and the old slot still renders the old generation. */
inline die(w, s) {
  alive[w] = false;
  applied[w] = 0;
  deaths++;
  if
  :: s == 1 && switch_at != 0 && !swapped -> withdrawn = true
  :: s == 1 && swapped && alive[0] -> withdrawn = true /* the patch's fault */
  :: !(s == 1 && switch_at != 0 && !swapped) -> skip   /* another death, or nothing is on its way */
  fi;
  if :: next == 2 && waiting[0] == NOBODY -> waiting[0] = s :: else -> waiting[1] = s fi;
  d_step { forget(); dead[w] = true }
}

proctype worker(byte me; byte slot; byte target) {
  byte head, state, generation = 1, tag, was, upto, at, seen, floor;
  bool is_stale, is_whole;
  {
    if
    :: me >= 2 -> load_checkpoint()
    :: else
    fi;
    do
    :: head == NB -> break
    :: head < NB && head < play + LEAD ->
       atomic {
         look();
         decide();
         take();
         if
         :: TURNS && switch_at > applied[me] && switch_at <= upto ->
            generation = 2;
            MUST(one_switch, begins == 0 || begins == head + 1);
            begins = head + 1
         :: else -> MUST(one_switch, generation == (target == 2 && begins != 0 && head + 1 >= begins -> 2 : 1))
         fi;
#ifdef MIDBLOCK
         if
         :: deaths < DEATHS -> die(me, slot) /* decided, and not published */
         :: true
         fi;
#endif
         if
         :: !dead[me] -> publish()
         :: else
         fi
       }
       if
       :: written < CHECKPOINTS && head < NB -> write_checkpoint()
       :: true
       fi
    od
  } unless {
    d_step {
      dead[me] || play == NB;
      head = 0; state = 0; generation = 0; tag = 0; was = 0; upto = 0; at = 0; seen = 0; is_whole = false
    }
  }
}

#define GENERATION(s) CELL(s, play).generation
#ifdef DEADUNPLAYABLE
#define THERE(s) (IN_SEAT(s, play) && !(withdrawn && s == 1))
#else
#define THERE(s) (IN_SEAT(s, play) && !(withdrawn && GENERATION(s) == 2))
#endif

/* One step: commit.pml looks closer. The gate is open from the SWITCH record until the commit is withdrawn. */
proctype callback() {
  byte slot;
  do
  :: play == NB -> break
  :: d_step {
       play < NB && (THERE(0) || THERE(1)) ->
       if
       :: THERE(1) && GENERATION(1) == 2 -> slot = 1
       :: THERE(0) && GENERATION(0) == 2 && !(THERE(1) && GENERATION(1) == 2) -> slot = 0
       :: else -> slot = (THERE(heard_slot) -> heard_slot : 1 - heard_slot)
       fi;
       MUST(refused_unheard, GENERATION(slot) == 1 || !withdrawn);
       MUST(whole_block, CELL(slot, play).first + 1 == content[play]);
       heard_slot = slot;
       if :: GENERATION(slot) == 2 -> swapped = true :: else fi;
       SEEN(a_swap, swapped);
       SEEN(a_successor, alive[2] && !alive[0] && !alive[1]);
       SEEN(a_second_successor, alive[3] && !alive[0] && !alive[1] && !alive[2]);
       play++;
       slot = 0
     }
  od
}

#ifdef SOLO
#define MAY_START (!alive[0] && !alive[1])
#else
#define MAY_START true
#endif
#define MAY_DIE(w) (deaths < DEATHS && alive[w] && play < NB)

/* Sends the records, kills at any step, starts successors. The second death may come before or after the first
 * successor has started, and hit that. While a commit may still be heard, nobody is started: which patch? */
proctype supervisor() {
  byte sent, floor;
  do
  :: play == NB -> break
  :: sent < NC -> d_step { newest++; sent++; forget() }
#ifdef SWITCH
  :: switch_at == 0 && alive[1] && next == 2 -> d_step { newest++; switch_at = newest; forget() }
#endif
  :: atomic { MAY_DIE(0) -> die(0, 0) }
  :: atomic { MAY_DIE(1) -> die(1, 1) }
  :: atomic { MAY_DIE(2) -> die(2, started[0]) }
  :: atomic {
       next < WORKERS && waiting[next - 2] != NOBODY && (switch_at == 0 || swapped || withdrawn) && MAY_START ->
       started[next - 2] = waiting[next - 2];
#ifndef NOPIN
       pin[waiting[next - 2]] = forgotten;
#endif
       next++;
       run worker(next - 1, waiting[next - 3], (swapped && !withdrawn -> 2 : 1))
     }
  od
}

init {
  atomic {
    alive[0] = true;
    alive[1] = true;
    checkpoint[0].stamp = 1;
    checkpoint[0].generation = 1;
    checkpoint[2].stamp = 1;
    checkpoint[2].generation = 1;
#ifdef SOLO
    alive[0] = false;
    dead[0] = true;
    deaths = 1;
    waiting[0] = 0;
#ifndef SWITCH /* otherwise its seat is what generation 1 can still be restored from */
    announced[0] = NO_PIN;
    checkpoint[0].stamp = 0;
#endif
#else
    run worker(0, 0, 1);
#endif
    run worker(1, 1, 2);
    run callback();
    run supervisor()
  }
}
