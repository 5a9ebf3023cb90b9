export { attention, attentionBackward, attentionScratch } from './attention';
export { dropout, rmsNorm, rmsNormBackward, rope, softmaxLoss, swiglu, swigluBackward, transpose } from './rows';
