/* What every model here shares: the ring, the journal, the stream's floor, and how a property is stated.
 *
 * Memory is sequentially consistent, as spin's always is: memory orders are argued in csrc/, not checked here.
 * A step (a statement, an atomic or a d_step) is what nobody can come between. A death is a step of its own, and a
 * worker is gone from the next step on, wherever it was. */

#ifndef NB
#define NB 3   /* blocks that are played; then the model ends */
#endif
#ifndef J
#define J NB   /* size of the journal; at least twice the ring, as csrc/segment_setup.c demands */
#endif
#define RING 2 /* blocks in an audio ring */
#ifndef LEAD
#define LEAD 2 /* blocks that a worker may be ahead of play */
#endif
#define NOBODY 255

/* A property has a name, which the checker prints and tests/test_model.py looks for. A fault is searched for with
 * -DONLY=name: the other properties are not looked at then. */
#ifdef ONLY
#define MUST(property, condition) assert((condition) || property != ONLY)
#else
#define MUST(property, condition) assert((condition) || property == 0)
#endif

hidden byte one_decision = 1;     /* no block is rendered with two decisions */
hidden byte somebody_decided = 2; /* an empty journal is not taken for a decision */
hidden byte forward = 3;          /* decisions never go back */
hidden byte decision_stays = 4;   /* nobody within a ring of play needs a decision that is overwritten */
hidden byte record_stays = 5;     /* no record is gone when it is needed */
hidden byte one_content = 6;      /* all renderings of a block agree, whoever did them */
hidden byte whole_block = 7;      /* a block is played whole, and it is the right one */
hidden byte no_underrun = 8;      /* a due block that was published is there, and is played */
hidden byte generation_order = 9; /* a newer generation is heard only from its swap on */
hidden byte only_primed = 10;     /* no SWITCH and no swap without a plan that is primed for that generation */
hidden byte due_generation = 11;  /* a swap finds the due block, of the pending generation */
hidden byte first_is_first = 12;  /* the first block heard of a patch is its first, unless the standby was late */
hidden byte bridged_only = 13;    /* the old generation sounds again only for blocks that the new one has not */
hidden byte one_switch = 14;      /* every renderer begins a generation at the same block */
hidden byte refused_unheard = 15; /* what was refused or rolled back is not heard any more */
hidden byte usable_checkpoint = 16; /* a successor finds a whole checkpoint that it has the plans for */
hidden byte silence_is_true = 17; /* no record takes effect in a block that is passed as silence */
hidden byte one_place = 18;       /* a record takes effect in the same block, whoever applies it */
hidden byte exactly_once = 19;    /* and each renderer applies it once, none is left out */
hidden byte nobody_oversleeps = 21; /* who rests is awake, or about to be, once the sender of a record has done its part */
hidden byte no_gap = 22;          /* no block lacks because a record was taken into it when it was due, though somebody stood for its silence */

/* What a model must be able to reach, lest a property hold because nothing happens: -DWATCH=name finds it. */
hidden byte was_seen = 20;
#define a_swap 1
#define a_late_swap 2
#define a_swap_of_the_dead 3
#define a_fall_back 4
#define a_successor 5
#define a_second_successor 6
#define a_torn_checkpoint 7
#define a_chain 8
#define a_zombie_at_work 9
#define a_lap 10
#define a_silence_of_the_dead 11
#define a_taken_silence 12
#define a_lost_race 13
#define a_record_far_ahead 14
#define a_missing_block 15
#ifdef WATCH
#define SEEN(what, condition) if :: what == WATCH && (condition) -> assert(was_seen == 0) :: else fi
#else
#define SEEN(what, condition) skip
#endif

typedef Cell { byte stamp; byte generation; byte first; byte second } /* stamp: block + 1, 0 = invalid */
typedef Ring { Cell at[RING] }
typedef Entry { byte tag; byte upto } /* one 64-bit word in C: read and swapped together */

Entry journal[J];
byte newest;    /* number of the newest record */
byte forgotten; /* number of the newest record that is overwritten */
byte play;      /* play_block */

/* Ghosts: seen by properties only. */
byte decided[NB]; /* decision + 1 */
bool made[NB];    /* somebody decided it */

#ifdef ZEROTAG
#define TAG(block) ((block) / J)
#else
#define TAG(block) ((block) / J + 1) /* 0 is "never": laps count from 1 */
#endif

/* The state of a renderer is a number that tells all decisions it has obeyed, and their order, from all others. */
#define AFTER(state, upto) (((state) * 3 + (upto) + 1) % 251)

#define CELL(seat, block) ring[seat].at[(block) % RING]
#define IN_SEAT(seat, block) (CELL(seat, block).stamp == (block) + 1)

/* Decide block `head`, or find what was decided: two steps, a look and a compare-and-swap.
 * Uses the locals tag, was, upto, is_stale and applied[me]. */
inline look() {
  d_step {
    tag = journal[head % J].tag;
    was = journal[head % J].upto;
    upto = (newest > applied[me] -> newest : applied[me]) /* loaded afresh, and never below what was obeyed */
  }
#ifdef STALEIDX
  if
  :: upto = 0 /* an index that was cached before the first record came */
  :: skip
  fi
#endif
}

inline decide() {
  d_step {
    if
#ifdef NOCAS
    :: tag < TAG(head) ->
#else
    :: tag < TAG(head) && journal[head % J].tag == tag && journal[head % J].upto == was ->
#endif
       journal[head % J].tag = TAG(head);
       journal[head % J].upto = upto;
       made[head] = true
    :: else ->
       if
       :: journal[head % J].tag == TAG(head) -> upto = journal[head % J].upto /* it stands: obey */
       :: else -> is_stale = true; MUST(decision_stays, head + RING < play) /* too late: load a checkpoint */
       fi
    fi;
    tag = 0;
    was = 0
  }
}

/* Take the records up to the decision and render. Uses the locals upto and state. */
inline take() {
  MUST(somebody_decided, made[head]);
  MUST(forward, upto >= applied[me]);
  MUST(record_stays, upto == applied[me] || forgotten <= applied[me]);
  MUST(one_decision, decided[head] == 0 || decided[head] == upto + 1);
  decided[head] = upto + 1;
  state = AFTER(state, upto)
}
