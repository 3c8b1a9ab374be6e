// Edits that the page makes: sent as commands and, once they are taken, committed at once, unless edits of others wait too.

const GATHER_MS = 120; // clicks that follow each other are one commit
const QUIET_MS = 600; // after a commit the status may still tell of what it has made
const LOST_MS = 70000; // an answer that has not come until then will not

export class Edits {
  constructor(box, say, tell) {
    Object.assign(this, { box, say, tell, asked: new Map(), isDirty: false, committedAt: 0, hasForeign: false, quietUntil: 0, timer: 0 });
    this.edit = this.edit.bind(this);
  }

  get isCommitting() {
    return this.committedAt > 0 && performance.now() - this.committedAt < LOST_MS;
  }

  edit(address, ...args) {
    this.asked.set(address, (this.asked.get(address) ?? 0) + 1);
    this.say(address, ...args);
  }

  onReply({ address, ok }) {
    if (address === "/patch/commit" && this.isCommitting) {
      this.committedAt = 0;
      this.quietUntil = performance.now() + QUIET_MS;
      if (this.isDirty) this.soon();
      return;
    }
    const n = this.asked.get(address) ?? 0;
    if (n === 0) return; // it was typed
    this.asked.set(address, n - 1);
    if (!ok || !this.box.checked) return;
    if (this.hasForeign) return this.tell("other edits are pending too: press Commit to hear them all");
    this.isDirty = true;
    this.soon();
  }

  soon() {
    clearTimeout(this.timer);
    if (!this.isCommitting) this.timer = setTimeout(() => this.commit(), GATHER_MS);
  }

  commit() {
    this.isDirty = false;
    this.committedAt = performance.now();
    this.say("/patch/commit");
  }

  setStatus(status) {
    if (!status.has_pending_edits) this.hasForeign = false;
    else if (!this.isDirty && !this.isCommitting && performance.now() > this.quietUntil) this.hasForeign = true;
  }
}
