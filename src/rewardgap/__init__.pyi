# The public names, each with its home. `__init__.py` reads this file and imports a name when it is
# first used. No module of the package has the name of a function here: it would hide the function.
from .checks.data import check_data as check_data
from .checks.data import register_data_check as register_data_check
from .checks.model import check_model as check_model
from .checks.model import register_model_check as register_model_check
from .configs.checks import CheckDataConfig as CheckDataConfig
from .configs.checks import CheckModelConfig as CheckModelConfig
from .configs.experiments import ReportConfig as ReportConfig
from .configs.experiments import RunConfig as RunConfig
from .configs.forecasting import ChesConfig as ChesConfig
from .configs.forecasting import ExplainConfig as ExplainConfig
from .configs.forecasting import ForecastConfig as ForecastConfig
from .configs.forecasting import TheoryConfig as TheoryConfig
from .configs.rewriting import RewriteConfig as RewriteConfig
from .configs.scoring import MetricsConfig as MetricsConfig
from .configs.scoring import RankConfig as RankConfig
from .configs.scoring import ScoreConfig as ScoreConfig
from .configs.serving import PushConfig as PushConfig
from .configs.serving import ServeConfig as ServeConfig
from .configs.training import DemoConfig as DemoConfig
from .configs.training import PretrainConfig as PretrainConfig
from .configs.training import TrainConfig as TrainConfig
from .data.records import Message as Message
from .demonstration import demo as demo
from .dynamics.theorems.theory import theory as theory
from .errors import UserError as UserError
from .evaluation.best_of_n import best_of_n as best_of_n
from .evaluation.table import metrics as metrics
from .experiments.run import run as run
from .explaining.displacement import ches as ches
from .explaining.explain import explain as explain
from .forecasting.forecast import forecast as forecast
from .reporting.report import report as report
from .rewriting.rewrite import rewrite as rewrite
from .scoring.ranking import rank as rank
from .scoring.reward_function import reward_function as reward_function
from .scoring.scorer import Scorer as Scorer
from .scoring.scorer import load as load
from .scoring.scorer import score as score
from .serving.push import push as push
from .serving.serve import serve as serve
from .training.pretrain import pretrain as pretrain
from .training.train import train as train

__version__: str
