CREATE DATABASE prefect; -- the image itself creates MLflow's
