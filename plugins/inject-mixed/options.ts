import { Type, type Static } from 'graft';

const part = (name: string) =>
  Type.Record(Type.String(), Type.Unknown(), { default: {}, description: `options of the inject plugin ${name}, in its own names; checked by it` });

/** A LoRA and an Adapter on one model. */
export const MixedOptions = Type.Object(
  {
    lora: part('lora'),
    adapter: part('adapter'),
    save_format: Type.Union([Type.Literal('folders'), Type.Literal('adapterhub')], {
      default: 'folders',
      description: "folders: lora/ in PEFT's format and adapter/ in AdapterHub's; adapterhub: one folder with AdapterHub's ConfigUnion",
    }),
  },
  { additionalProperties: false },
);

export type MixedOptions = Static<typeof MixedOptions>;
