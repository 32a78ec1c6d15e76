// What one face did in the last minute: a column of numbers for each Action Unit.

import { UNITS } from "./units.js";

export const SPAN_S = 60;
const SLACK = 256; // rows that are kept too long, so that columns are not moved at every frame

export class History {
  constructor() {
    this.clear();
  }

  clear() {
    this.times = [];
    this.values = new Map(UNITS.map(([unit]) => [unit, []]));
    this.present = new Map(UNITS.map(([unit]) => [unit, []]));
  }

  get last() {
    return this.times.length ? this.times[this.times.length - 1] : null;
  }

  add(result) {
    const last = this.last;
    if (last !== null && result.time_s < last - 1) this.clear(); // the stream has begun anew
    else if (last !== null && result.time_s <= last) return;
    this.times.push(result.time_s);
    for (const [unit] of UNITS) {
      const value = result.success ? result.au_r[unit] : undefined;
      this.values.get(unit).push(value ?? NaN);
      this.present.get(unit).push(result.success && result.au_c[unit] === 1);
    }
    const old = this.firstWithin(SPAN_S + 1);
    if (old > SLACK) {
      this.times.splice(0, old);
      for (const column of [...this.values.values(), ...this.present.values()]) column.splice(0, old);
    }
  }

  // The largest value of these units in the last minute; 0 where there is none.
  peak(units) {
    let most = 0;
    const from = this.firstWithin(SPAN_S);
    for (const unit of units) {
      const column = this.values.get(unit);
      for (let place = from; place < column.length; place++) if (column[place] > most) most = column[place];
    }
    return most;
  }

  firstWithin(seconds) {
    const from = this.last - seconds;
    let low = 0;
    let high = this.times.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.times[middle] < from) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
