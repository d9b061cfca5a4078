"""A stand-in for the Sprint binary (nn-trainer of RASR), for tests, demos, and users without it.

    python -m sprint_ctl.fake_sprint --*.action=python-control --*.pymod-name=... --*.corpus.file=F

It takes Sprint's command line and configuration files, loads the Python modules, and makes the
calls that the real Sprint makes, in the same order, with the same types; what comes back from
Python is checked as strictly. It writes few log lines, on stdout or to the file that
``log.channel`` leads to. An exception in Python or an error ends it with status 1, SystemExit with
its own code.

Configuration: ``--name=value``, ``--*.selection.name=value``, ``--config=FILE`` with
``[selection]``, ``name = value``, ``# comment`` and ``include FILE``; ``$(name)`` in values.

Names of the real Sprint that are known here:

  action                        python-control | supervised-training | unsupervised-training |
                                supervised-segmentwise-training (none with a feature scorer)
  python-control-loop-type      python-control-loop | iterate-corpus
  trainer                       python-trainer | feed-forward-trainer (with a layer of
                                layer-type=python, its dimension-output and pymod-*)
  mixture-set.feature-scorer-type   python-feature-scorer | nn-trainer-feature-scorer
  pymod-path, pymod-name, pymod-config, python-control-enabled
  target-mode, trainer-output-dimension, trainer-allow-downsampling,
  natural-pairing-layer.layer-type, weighted-accumulation, single-precision
  buffer-type, buffer-size (frames; the real Sprint clears all of them at every segment: set it to
  the longest segment, such as 10000), batch-size, shuffle, shuffle-seed, window-size, seed
  extract-features, extract-alignments, soft-alignments
  training-criterion            none | cross-entropy | ctc (with input-in-log-space)
  feature-dimension, python-feature-scorer-output-dimension
  corpus.file, .partition, .select-partition, .recording-based-partition, .skip-first-segments,
  .segments-to-skip, .segments.file, .segment-order, .segment-order-shuffle(-seed),
  .segment-order-sort-by-time-length(-chunk-size), .segment-order-look-up-short-name,
  .progress-indication, .python-segment-order, .python-segment-order-pymod-path, -pymod-name,
  -config, -allow-copy, -with-segment-info, .use-data-source
  feature-extraction.file       a flow network whose caches are read; or feat-cache, align-cache
  acoustic-model.state-tying.file, .allophones.add-from-file (or allophone-file), .silence,
  .hmm.states-per-phone, .tdp.*; lexicon.file

Specific to this stand-in, under ``--*.fake.``:

  criterion=NAME                instead of training-criterion: also full-sum (over the automaton of
                                allophone states) and trivial (loss: the number of frames; error
                                signal: what came in)
  characters=TEXT               classes of ctc; else all characters of the corpus, sorted. The
                                blank comes last
  seconds-per-frame=X           time that every criterion takes
  features=DIMxFRAMES           random features of this size for every segment, no archive
  fixed-segmentwise-trainer     deliver data where the real python-trainer does not
  version-number=N              of PythonControl
  misbehave=RULES               POINT:ACTION[:ARGUMENT][@SECONDS];...
    points: start, import, init, segment-N, request-N, done-N (N from 1, or *), exit
    actions: signal:NAME, abort, code:N, error:TEXT, hang, ignore:SIGNAL, sleep:SECONDS,
             stdout:TEXT, stderr:TEXT, noise:KIB, garbage[:BYTES], half, close
    (see sprint_ctl/fake_sprint/misbehavior.py; exit:abort is what the real one does after a run
    with a Python layer)
"""
