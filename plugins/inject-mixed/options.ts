import { optionsOf, Type, type Static } from 'graft';

/** A LoRA and an Adapter on one model. */
export const MixedOptions = Type.Object(
  {
    lora: optionsOf('inject', 'lora'),
    adapter: optionsOf('inject', 'adapter'),
    save_format: Type.Union([Type.Literal('folders'), Type.Literal('adapterhub')], {
      default: 'folders',
      description: "folders: lora/ in PEFT's format and adapter/ in AdapterHub's; adapterhub: one folder with AdapterHub's ConfigUnion",
    }),
  },
  { additionalProperties: false },
);

export type MixedOptions = Static<typeof MixedOptions>;
