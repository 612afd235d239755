"""Hugging Face's Trainer with a rate for each group, a fixed data order, and a loss that is the mean over the examples
of a step. Numbers that are not finite are an error. Checkpoints hold the trained parameters alone."""

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import torch
from torch.utils.data import DataLoader, Sampler
from transformers import EvalPrediction, Trainer
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_utils import EvalLoopOutput, TrainOutput

from ..adaptation.parameters import adaptation_of, groups_at
from ..backbone.parts import with_ready_mask
from ..saving.load import load_adapter
from ..saving.save import save_adapter
from .batch_shares import cut, filled_up, shares_of_step
from .callbacks import CompleteCheckpoints, SaveAfterEvaluation
from .checkpoints import ADAPTER_FOLDER, begin_checkpoint, check_optimizer_state, check_state
from .collapse import CollapseGuard
from .finite import check_finite
from .live_output import LiveOutput
from .losses import StepLosses, WeightedLoss
from .progress_file import read_progress, write_progress
from .sampler import EpochSampler, train_sampler
from .settings import optimizer_of, with_our_values

_WEIGHT = "loss_weight"  # key of a training batch: the factor of its mean loss


class AdapterTrainer(Trainer):
    """Trains an adapted model.

    Args:
        rates: learning rate of each parameter group (adaptation.parameters.GROUPS).
        notes: kept in every saved adapter (task, seed).
        arguments: of the run, kept in every checkpoint.
        constant_loss: the loss of the best constant prediction. Without it a collapse is not detected.
        class_weights: the weight of each class in the training loss; by default equal.
    """

    def __init__(
        self,
        rates: dict[str, float],
        notes: dict[str, Any],
        arguments: dict[str, Any],
        constant_loss: Optional[float] = None,
        class_weights: Optional[Sequence[float]] = None,
        **kwargs,
    ):
        # The models take **kwargs but ignore `num_items_in_batch`. Otherwise the Trainer would not divide the loss by
        # the accumulation steps.
        kwargs["model"].accepts_loss_kwargs = False
        self._given, kwargs["args"] = kwargs["args"], with_our_values(kwargs["args"])
        super().__init__(**kwargs)
        self.rates, self.notes, self.arguments, self.losses = rates, notes, arguments, StepLosses()
        self.seconds_before, self.began = 0.0, time.time()  # of training in earlier starts; when this start began it
        smoothing = self.args.label_smoothing_factor
        self._weighted = WeightedLoss(class_weights, smoothing, self.accelerator) if class_weights else None
        self._checkpoints = CompleteCheckpoints(self._given.save_total_limit)
        self._live = LiveOutput()
        self.guard = CollapseGuard(self.losses, math.inf if constant_loss is None else constant_loss, self._live.say)
        for printing in (PrinterCallback, ProgressCallback):
            self.remove_callback(printing)
        for callback in (self._live, self.losses, self.guard, SaveAfterEvaluation(), self._checkpoints):
            self.add_callback(callback)
        self._compute_given_metrics, self.compute_metrics = self.compute_metrics, self._compute_metrics_if_finite
        self.newest_evaluation = -1, None  # step and output of the newest evaluation in training
        compiling = self.accelerator.state.dynamo_plugin
        if compiling.dynamic is None:
            compiling.dynamic = True  # compile once for all lengths and numbers of examples
        self._size = self.model.num_parameters(exclude_embeddings=True)

    def _prepare_inputs(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        return with_ready_mask(self.model, super()._prepare_inputs(inputs))

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return the Trainer's estimate. The Trainer itself would count the parameters again in each step."""
        return 6 * inputs[self.model.main_input_name].numel() * self._size

    # Optimizer and order of the examples

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        """Build the optimizer with the method's parameter groups, at the rates of this run."""
        if self.optimizer is None:
            chosen = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            optimizer_class, options = optimizer_of(self.args, chosen, adaptation_of(self.model).config.method)
            self.optimizer = optimizer_class(groups_at(self.model, self.rates, self.args.weight_decay), **options)
        return self.optimizer

    def check_optimizer_and_schedule(self) -> None:
        """Build both as training does, so that their errors come before anything is written, and discard them."""
        self.create_optimizer_and_scheduler(self.max_steps())
        self.optimizer = self.lr_scheduler = None

    def max_steps(self) -> int:
        """Return the number of steps of the training."""
        return self.set_initial_training_values(self.args, self.get_train_dataloader())[-1]

    def _get_dataloader(self, *args, **kwargs) -> DataLoader:
        """Give each loader its own generator, or the seeds that evaluations draw would change the dropout of steps."""
        loader = super()._get_dataloader(*args, **kwargs)
        loader.base_dataloader.generator = torch.Generator().manual_seed(self.args.seed)
        return loader

    def _get_train_sampler(self, train_dataset=None) -> Optional[Sampler]:
        """Return a sampler seeded by (data seed, epoch), whose order is the same for any number of processes. The
        Trainer has removed columns from the given dataset."""
        self._order = train_sampler(self._given, self.train_dataset, self.get_total_train_batch_size(self.args))
        return self._order

    def _run_epoch(self, *args, epoch: int, **kwargs) -> None:
        """Set the sampler's epoch, which accelerate does not do in a resumed epoch of several processes. Train
        nothing if the training had ended before a resume."""
        if self.control.should_training_stop or self.state.global_step >= self.state.max_steps:
            return
        if isinstance(self._order, EpochSampler):
            self._order.set_epoch(epoch)
        super()._run_epoch(*args, epoch=epoch, **kwargs)

    # Losses: means over the examples of a step in all processes

    def train(self, resume_from_checkpoint: Optional[str] = None, *args, **kwargs) -> TrainOutput:
        """Train with another random state in each process, or all would draw the same dropout masks. A resumed
        training does not begin with the evaluation of ``--eval_on_start``, which early stopping would count."""
        self.args.eval_on_start = self.args.eval_on_start and not resume_from_checkpoint
        if self.args.process_index:
            torch.manual_seed(self.args.seed + self.args.process_index)
        self.began = time.time()
        with warnings.catch_warnings():  # about small gradients that lie transposed in memory
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")  # the Trainer uses it
            warnings.filterwarnings("ignore", "Using a non-tuple sequence")  # if rng_state.pth is a tensor: it fails
            return super().train(resume_from_checkpoint, *args, **kwargs)

    def get_batch_samples(self, epoch_iterator, num_batches: int, device) -> tuple[list, Any]:
        """Return the batches of a step, without the examples that fill them up."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        counts, weights = zip(*shares_of_step(self.state.global_step, len(self._order), self.args))
        batches = [cut(batch, count) for batch, count in zip(batches, counts, strict=True)]
        if self._weighted:
            weights = self._weighted.shares(batches, counts)
        return [{**batch, _WEIGHT: weight} for batch, weight in zip(batches, weights)], items

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        """Return the loss of a batch. In training it is weighted by its share of the step's examples, or of their
        class weights. In evaluation all examples weigh the same, so that runs can be compared."""
        weight, labels = inputs.pop(_WEIGHT, None), inputs.get("labels")  # label smoothing removes labels
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        if model.training and self._weighted:
            loss = self._weighted(outputs["logits"], labels)
        if weight is not None:
            loss = loss * weight
        return (loss, outputs) if return_outputs else loss

    def training_step(self, model, inputs, num_items_in_batch=None) -> torch.Tensor:
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.losses.add(loss, ends_step=self.accelerator.sync_gradients)
        return loss

    def _get_grad_norm(self, model, grad_norm=None):
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        if self.accelerator.scaler is None:  # it skips the steps whose gradient overflows
            self.losses.add_norm(norm)
        return norm

    def log(self, logs: dict[str, float], *args, **kwargs) -> None:
        """Replace ``train_loss`` and ``train_runtime`` in the last entry by those of all steps and starts."""
        if "train_loss" in logs and self.losses.values:
            logs["train_loss"] = self.losses.mean()
        if "train_runtime" in logs:
            logs["train_runtime"] = round(self.seconds_before + logs["train_runtime"], 4)
        super().log(logs, *args, **kwargs)

    # Evaluation and prediction

    def evaluation_loop(self, dataloader, description, *args, metric_key_prefix="eval", **kwargs) -> EvalLoopOutput:
        """Run the Trainer's loop; raise RunFailed if an output of the model, its loss or a metric is not finite."""
        self._live.doing = metric_key_prefix
        output = super().evaluation_loop(dataloader, description, *args, metric_key_prefix=metric_key_prefix, **kwargs)
        # Outputs are checked here too, since no metrics are computed for a set without labels.
        for name, value in {"an output of the model": output.predictions, **output.metrics}.items():
            check_finite(value, name, metric_key_prefix, self.args.do_train)
        if self.is_in_train and description == "Evaluation":  # a callback's predictions may be of other parameters
            self.newest_evaluation = self.state.global_step, output
        return output

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None) -> tuple:
        """Run the Trainer's step, and return only the logits of the model's outputs. The loss of a last batch that is
        filled up in several processes is that of its own examples."""
        state, size = self.accelerator.gradient_state, len(next(iter(inputs.values())))
        if self.args.world_size > 1 and state.end_of_dataloader and state.remainder > 0:
            inputs = cut(inputs, min(state.remainder - self.args.process_index * size, size))
        loss, logits, labels = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        logits = logits[0] if isinstance(logits, tuple) else logits
        return loss, filled_up(logits, size), filled_up(labels, size)

    def _compute_metrics_if_finite(self, output: EvalPrediction) -> dict[str, float]:
        check_finite(output.predictions, "an output of the model", self._live.doing, self.args.do_train)
        return self._compute_given_metrics(output)

    # Checkpoints

    def train_seconds(self) -> float:
        """Return the seconds of training in all starts of the run together."""
        return round(self.seconds_before + time.time() - self.began, 3)

    def save_model(self, *args, **kwargs) -> None:
        """Save, then wait, since no process may write into a checkpoint's folder before rank 0 has made it."""
        super().save_model(*args, **kwargs)
        self.accelerator.wait_for_everyone()

    def _save_checkpoint(self, *args, **kwargs) -> None:
        """Save, then wait for the random states of all processes, since the checkpoint is sealed next."""
        super()._save_checkpoint(*args, **kwargs)
        self.accelerator.wait_for_everyone()

    def _save(self, output_dir: Optional[str] = None, state_dict=None) -> None:
        """Write the adapter and the losses. The Trainer calls this in every process, and rank 0 writes."""
        if not self.args.should_save:
            return
        begin_checkpoint(Path(output_dir))
        save_adapter(self.model, Path(output_dir) / ADAPTER_FOLDER, self.notes)
        write_progress(Path(output_dir), self.arguments, self.losses, self.train_seconds())

    def check_checkpoint(self, checkpoint: Path) -> None:
        """Raise UsageError for a checkpoint from which training could not go on; load its trained values. The manifest
        reveals damage, so the Trainer's own files are not checked here."""
        check_state(checkpoint, self.max_steps(), needs_best=self.args.load_best_model_at_end)
        self._load_from_checkpoint(str(checkpoint))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        checkpoint = Path(resume_from_checkpoint)
        load_adapter(self.model, checkpoint / ADAPTER_FOLDER)
        progress = read_progress(checkpoint)
        self.losses.values, self.losses.norms = progress.step_losses, progress.gradient_norms
        self.seconds_before = progress.seconds
        self._checkpoints.resumed_from = checkpoint

    def _load_optimizer_and_scheduler(self, checkpoint: Optional[str]) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        check_optimizer_state(self.optimizer, checkpoint)

    def _load_best_model(self) -> None:
        load_adapter(self.model, Path(self.state.best_model_checkpoint) / ADAPTER_FOLDER)
