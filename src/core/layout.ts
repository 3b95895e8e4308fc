/**
 * Struct layouts as data: `defineLayout` computes the offset of every field and refuses fields
 * that are misaligned, duplicated, or that do not add up to the stated size. Formats of the wire
 * and of the disk are declared with it once; code reads fields by the offsets that it returns.
 */
import { assert } from "./assert.ts";

export interface Field {
  readonly name: string;
  /** Byte offset from the start of the record. */
  readonly at: number;
  /** Index of the field's first 32-bit word; −1 for fields that start off a word. */
  readonly word: number;
  readonly size: number;
}

export interface Layout<Name extends string> {
  readonly name: string;
  readonly size: number;
  readonly fields: readonly Field[];
  readonly at: Readonly<Record<Name, number>>;
  /** Word index per field; see `Field.word`. */
  readonly word: Readonly<Record<Name, number>>;
}

/** @param base - Offset of the first field: 128 for the part of a header after the frame. */
export function defineLayout<const Name extends string>(
  name: string,
  size: number,
  fields: readonly (readonly [Name, number])[],
  base = 0,
): Layout<Name> {
  const at = {} as Record<Name, number>;
  const word = {} as Record<Name, number>;
  const list: Field[] = [];
  let offset = base;
  for (const [field, fieldSize] of fields) {
    assert(!(field in at), "field names are unique");
    if (fieldSize === 2 || fieldSize === 4 || fieldSize === 8) {
      assert(offset % Math.min(fieldSize, 4) === 0, "integers are aligned");
    }
    if (fieldSize === 16) assert(offset % 8 === 0, "128-bit integers are aligned");
    at[field] = offset;
    word[field] = offset % 4 === 0 ? offset / 4 : -1;
    list.push({ name: field, at: offset, word: word[field], size: fieldSize });
    offset += fieldSize;
  }
  assert(offset === base + size, "fields add up to the record's size");
  return { name, size, fields: list, at, word };
}
